import { fileURLToPath } from "node:url";
import type { Secured } from "./secured.ts";

/** What main.ts tells the tests: where the system and the tools are. */

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));

function given(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: these tests are run by npm run test:interop`);
  return value;
}

/** host:port of the gateway's gRPC. */
export const grpcAddress = (): string => given("INTEROP_GRPC");
/** Base of the HTTP API's addresses. */
export const httpAddress = (): string => `http://${given("INTEROP_HTTP")}`;
/** The folder with grpcurl, ghz and protoc's Go plugins. */
export const goToolsFolder = (): string => given("INTEROP_GO_TOOLS");
/** For PYTHONPATH. */
export const pythonFolder = (): string => given("INTEROP_PYTHON");
/** The gateway that wants keys and speaks TLS. */
export const secured = (): Omit<Secured, "stop"> => JSON.parse(given("INTEROP_SECURED"));

/** The examples' environment for it. */
export function securedEnv(env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  const { grpc, caFile, key } = secured();
  return { ...env, ARRW_ADDRESS: grpc, ARRW_TLS_CA_FILE: caFile, ARRW_API_KEY: key };
}
