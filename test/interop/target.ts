import { fileURLToPath } from "node:url";

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
