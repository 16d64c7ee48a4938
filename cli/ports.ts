import { ArrwError } from "../platform/errors.ts";
import { freePort, portProblem } from "../platform/free-port.ts";
import type { PortSetting, ServiceSpec } from "./services.ts";

export interface WantedPort {
  readonly service: string;
  readonly setting: PortSetting;
  /** 0 = a free one. */
  readonly port: number;
  readonly host: string;
}

/**
 * Settles every port: 0 becomes a free one, the others are tried.
 * @throws ArrwError FAILED_PRECONDITION, reason PORT_IN_USE, naming service and setting of each that can't be had
 */
export async function settlePorts(wanted: readonly WantedPort[]): Promise<Map<PortSetting, number>> {
  const ports = new Map<PortSetting, number>();
  const problems: string[] = [];
  for (const { service, setting, port, host } of wanted) {
    const other = [...ports].find(([, taken]) => port !== 0 && taken === port)?.[0];
    if (other !== undefined) {
      problems.push(`${setting} (${service}) and ${other} are both ${port}`);
      continue;
    }
    const problem = port === 0 ? undefined : await portProblem(host, port);
    if (problem !== undefined) {
      problems.push(`port ${host}:${port} of ${service} is ${problem}; set ${setting} to another one`);
    }
    ports.set(setting, port === 0 ? await freePort(host) : port);
  }
  if (problems.length > 0) {
    throw new ArrwError("FAILED_PRECONDITION", problems.join("; "), { reason: "PORT_IN_USE" });
  }
  return ports;
}

/** An environment for a system beside others: every port free, a nats-server of its own. */
export function withFreePorts(given: NodeJS.ProcessEnv, services: readonly ServiceSpec[]): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = { ...given, ARRW_NATS_PORT: "0" };
  delete env.ARRW_NATS_URL;
  delete env.NATS_URL;
  for (const { setting } of services.flatMap(({ ports }) => ports)) env[setting] = "0";
  return env;
}
