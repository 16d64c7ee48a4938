import { isLoopback } from "../platform/exposure.ts";
import type { TlsSettings } from "../platform/tls.ts";

/**
 * All services of `arrw up` run on this machine. So the gateway alone listens where ARRW_HOST says: the others, which
 * trust whoever reaches them, stay on loopback. Without authorities for calls between services these are made
 * without TLS there, and the certificate is the gateway's, which may be made for a public name.
 */

const LOOPBACK = "127.0.0.1";

export interface SharedSettings extends TlsSettings {
  readonly ARRW_HOST: string;
}

const isInside = (service: string): boolean => service !== "gateway";

/** Address that a service binds to. */
export function hostOf(service: string, { ARRW_HOST }: Pick<SharedSettings, "ARRW_HOST">): string {
  return isInside(service) && !isLoopback(ARRW_HOST) ? LOOPBACK : ARRW_HOST;
}

/** Address at which others on this machine find it. */
export function connectHostOf(service: string, settings: Pick<SharedSettings, "ARRW_HOST">): string {
  const host = hostOf(service, settings);
  return host === "0.0.0.0" || host === "::" ? LOOPBACK : host;
}

/** Address at which the other services call it: certificates have names rather than IP addresses. */
export function callHostOf(service: string, settings: SharedSettings): string {
  const host = connectHostOf(service, settings);
  return settings.ARRW_TLS_CA_FILE !== "" && host === LOOPBACK ? "localhost" : host;
}

/** What a service gets of an environment that was made for all of them. */
export function environmentOf(
  service: string,
  env: NodeJS.ProcessEnv,
  settings: SharedSettings,
): NodeJS.ProcessEnv {
  if (!isInside(service)) return env;
  const own: NodeJS.ProcessEnv = { ...env, ARRW_HOST: hostOf(service, settings) };
  if (settings.ARRW_TLS_CA_FILE !== "") return own;
  delete own.ARRW_TLS_CERT_FILE;
  delete own.ARRW_TLS_KEY_FILE;
  delete own.ARRW_TLS_CLIENT_CA_FILE;
  return own;
}
