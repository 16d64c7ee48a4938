import type { GrpcServerOptions, MethodShape } from "../../../platform/grpc/server.ts";
import type { Guard } from "../guard.ts";

/**
 * What asks for credentials before a message is read: a few KB unpack to the largest one that is taken. Methods of other
 * services (health, reflection) are open to all. Undefined: nobody has to show any.
 */
export function admission(
  guard: Guard,
  services: readonly Readonly<Record<string, MethodShape>>[],
): GrpcServerOptions["admit"] {
  if (!guard.authenticates) return undefined;
  const paths = services.flatMap((service) => Object.values(service).map(({ path }) => path));
  const names = new Map(paths.map((path) => [path, nameOf(path)] as const));
  return (path, call) => {
    const rpc = names.get(path);
    if (rpc === undefined) return undefined;
    const admitted = guard.authenticate(call, rpc);
    return admitted instanceof Promise ? admitted : undefined;
  };
}

/** "JobService.GetJob" of "/arrwdb.v1.JobService/GetJob". */
function nameOf(path: string): string {
  const [service = "", method = ""] = path.slice(1).split("/");
  return `${service.slice(service.lastIndexOf(".") + 1)}.${method}`;
}
