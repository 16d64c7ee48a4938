import { isIPv4 } from "node:net";
import { ConfigError } from "./config.ts";

/** What a listener that others can reach needs: somebody to prove who calls, unless the operator wants it open. */

export interface Exposure {
  readonly ARRW_HOST: string;
  readonly ARRW_ALLOW_UNAUTHENTICATED: string;
  readonly ARRW_TLS_CLIENT_CA_FILE: string;
  /** Of the gateway. */
  readonly ARRW_API_KEYS_FILE?: string;
  readonly ARRW_JWKS_FILE?: string;
}

/** Can only this machine connect? */
export function isLoopback(host: string): boolean {
  const plain = host.replace(/^\[|\]$/g, "").toLowerCase();
  return plain === "localhost" || plain === "::1" || (isIPv4(plain) && plain.startsWith("127."));
}

/**
 * Why a service must not listen there; undefined = it may. Workers are not asked: they listen for probes and metrics
 * alone.
 */
export function exposureProblem(settings: Exposure): string | undefined {
  const { ARRW_HOST: host, ARRW_TLS_CLIENT_CA_FILE: clientCa } = settings;
  const { ARRW_API_KEYS_FILE: keys, ARRW_JWKS_FILE: jwks } = settings;
  if (isLoopback(host) || settings.ARRW_ALLOW_UNAUTHENTICATED === "true") return undefined;
  if (clientCa !== "" || (keys ?? "") !== "" || (jwks ?? "") !== "") return undefined;
  const measures =
    keys === undefined
      ? "ARRW_TLS_CLIENT_CA_FILE"
      : "ARRW_API_KEYS_FILE, ARRW_JWKS_FILE or ARRW_TLS_CLIENT_CA_FILE";
  return (
    `ARRW_HOST: ${host} is reached from other machines, and nobody there would have to prove who they are; ` +
    `set ${measures}, or ARRW_ALLOW_UNAUTHENTICATED=true if the network itself keeps others out`
  );
}

/** The settings, checked. @throws ConfigError when the service must not listen there */
export function guardedExposure<T extends Exposure>(settings: T): T {
  const problem = exposureProblem(settings);
  if (problem !== undefined) throw new ConfigError([problem]);
  return settings;
}
