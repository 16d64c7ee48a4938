import { isLoopback } from "../../../platform/exposure.ts";
import { type Part, part } from "../../../platform/lifecycle.ts";
import type { Logger } from "../../../platform/log.ts";
import type { Registry } from "../../../platform/metrics.ts";
import type { GatewayConfig } from "../config.ts";
import { Guard } from "../guard.ts";
import { ApiKeys } from "./api-keys.ts";
import { AuditLog } from "./audit-log.ts";
import { Authenticator } from "./authenticator.ts";
import { JwtVerifier } from "./jwt.ts";
import { ClientUses } from "./limits.ts";
import { ReloadedFile } from "./reloaded-file.ts";

/** The guard that the settings ask for, and what it needs started before the listeners. */
export function createGuard(
  config: GatewayConfig,
  log: Logger,
  registry: Registry,
): { readonly guard: Guard; readonly parts: readonly Part[] } {
  const keys =
    config.ARRW_API_KEYS_FILE === ""
      ? undefined
      : new ReloadedFile({
          what: "API keys",
          path: config.ARRW_API_KEYS_FILE,
          parse: (text) => new ApiKeys(text),
          log,
          private: true,
        });
  const rules = { issuer: config.ARRW_JWT_ISSUER, audience: config.ARRW_JWT_AUDIENCE };
  const tokens =
    config.ARRW_JWKS_FILE === ""
      ? undefined
      : new ReloadedFile({
          what: "JSON Web Keys",
          path: config.ARRW_JWKS_FILE,
          parse: (text) => new JwtVerifier(text, rules),
          log,
          private: false,
        });
  const audit = new AuditLog(config.ARRW_AUDIT_LOG_FILE, log);
  const clients = new ClientUses({
    requestsPerSecond: config.ARRW_CLIENT_REQUESTS_PER_SECOND,
    maxRequests: config.ARRW_CLIENT_MAX_REQUESTS,
    maxStreams: config.ARRW_CLIENT_MAX_STREAMS,
  });
  const authenticator = new Authenticator(keys, tokens);
  const warnings = part(
    "exposure",
    async () => {
      for (const warning of exposureWarnings(config, authenticator.required)) log.warn(warning);
    },
    async () => undefined,
  );
  const parts = [audit, keys, tokens, warnings].filter((each) => each !== undefined);
  return { guard: new Guard({ authenticator, clients, audit, registry }), parts };
}

function exposureWarnings(config: GatewayConfig, authenticates: boolean): string[] {
  const { ARRW_HOST: host, ARRW_TLS_CERT_FILE: certificate, ARRW_TLS_CLIENT_CA_FILE: clientCa } = config;
  if (isLoopback(host)) return [];
  const warnings: string[] = [];
  if (authenticates && certificate === "")
    warnings.push(
      `API keys and tokens come to ${host} in plain text, where whoever is on the way can take them: set ARRW_TLS_CERT_FILE and ARRW_TLS_KEY_FILE`,
    );
  if (!authenticates && clientCa === "")
    warnings.push(
      `${host} is reached from other machines, and everybody there may do everything: nobody has to prove who they are`,
    );
  return warnings;
}
