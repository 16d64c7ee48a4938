import { tokenFromFile } from "./access.ts";
import { ClientError } from "./error.ts";
import type { ArrwClientOptions } from "./options.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Options as the environment has them; nothing is taken from it unless a program asks for it here.
 *
 * - ARRW_ADDRESS: host:port of the gateway
 * - ARRW_API_KEY, or ARRW_API_KEY_FILE, which is read again when it changes: an API key or a JWT
 * - ARRW_TLS_CA_FILE: TLS, with a gateway whose certificate is of these authorities; ARRW_TLS=true: of one that Node knows
 * - ARRW_TLS_CERT_FILE and ARRW_TLS_KEY_FILE: with TLS, the client's own certificate
 * - ARRW_TLS_SERVER_NAME: with TLS, the name that the gateway's certificate is for
 *
 * @throws ClientError INVALID_ARGUMENT: both keys, or an ARRW_TLS that is neither true nor false
 */
export function optionsFromEnvironment(env: Environment = process.env): ArrwClientOptions {
  const { ARRW_ADDRESS: address, ARRW_API_KEY: apiKey, ARRW_API_KEY_FILE: keyFile } = env;
  if (apiKey && keyFile)
    throw new ClientError("INVALID_ARGUMENT", "ARRW_API_KEY and ARRW_API_KEY_FILE: one of the two");
  const tls = tlsFrom(env);
  return {
    ...(address ? { address } : {}),
    ...(apiKey ? { apiKey } : {}),
    ...(keyFile ? { token: tokenFromFile(keyFile) } : {}),
    ...(tls === undefined ? {} : { tls }),
  };
}

function tlsFrom(env: Environment): ArrwClientOptions["tls"] {
  const { ARRW_TLS: wanted = "", ARRW_TLS_CA_FILE: caFile, ARRW_TLS_SERVER_NAME: serverName } = env;
  if (!["", "true", "false"].includes(wanted))
    throw new ClientError("INVALID_ARGUMENT", `ARRW_TLS: true or false; got ${JSON.stringify(wanted)}`);
  if (wanted === "false" || (wanted === "" && !caFile)) return undefined;
  const { ARRW_TLS_CERT_FILE: certFile, ARRW_TLS_KEY_FILE: keyFile } = env;
  return {
    ...(caFile ? { caFile } : {}),
    ...(certFile && keyFile ? { certFile, keyFile } : {}),
    ...(serverName ? { serverName } : {}),
  };
}
