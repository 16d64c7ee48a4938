import type { SettingName } from "../platform/config.ts";
import type { PortSetting, ServiceSpec } from "./services.ts";
import type { Exit } from "./supervised.ts";

export interface SystemOptions {
  /** Default `process.env`. */
  readonly env?: NodeJS.ProcessEnv;
  /** Settings that win over the environment. */
  readonly settings?: Partial<Record<SettingName, string | number>>;
  /** Free ports, a data folder that goes with `stop`, a nats-server of its own whatever ARRW_NATS_URL says. */
  readonly temporary?: boolean;
  /** Default: index, scheduler, worker, gateway. */
  readonly services?: readonly ServiceSpec[];
  /** Every log line, rendered for people. Default: none is shown; `logs` has the newest in any case. */
  readonly onLine?: (line: string) => void;
  readonly colour?: boolean;
  /** nats-server syncs before every acknowledgement; default true. */
  readonly syncAlways?: boolean;
}

export interface SystemEvents {
  /** A process ended by itself or was killed; it is launched again. */
  exit: [name: string, exit: Exit];
  /** A process is ready again after a restart. */
  ready: [name: string, pid: number];
}

export interface SystemAddress {
  readonly service: string;
  readonly setting: PortSetting;
  readonly what: string;
  /** host:port */
  readonly address: string;
}
