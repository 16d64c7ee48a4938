import type { SettingName } from "../platform/config.ts";

export type PortSetting = Extract<SettingName, `${string}_PORT`>;

export interface ServicePort {
  readonly setting: PortSetting;
  readonly what: string;
}

export interface ServiceSpec {
  readonly name: string;
  /** The program of the process. */
  readonly main: URL;
  readonly ports: readonly ServicePort[];
  /** The setting by which others find it, and the port that it holds. */
  readonly address?: {
    readonly setting: Extract<SettingName, `${string}_ADDRESS`>;
    readonly port: PortSetting;
  };
}

const main = (name: string): URL => {
  const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
  return new URL(`../services/${name}/main.${extension}`, import.meta.url);
};

const PROBES = "/metrics, /healthz, /readyz";

/** What `arrw up` runs; stopped from the last to the first. */
export const SERVICES: readonly ServiceSpec[] = [
  {
    name: "index",
    main: main("index"),
    ports: [
      { setting: "ARRW_INDEX_GRPC_PORT", what: "gRPC, internal" },
      { setting: "ARRW_INDEX_HTTP_PORT", what: PROBES },
    ],
    address: { setting: "ARRW_INDEX_ADDRESS", port: "ARRW_INDEX_GRPC_PORT" },
  },
  {
    name: "scheduler",
    main: main("scheduler"),
    ports: [
      { setting: "ARRW_SCHEDULER_GRPC_PORT", what: "gRPC, internal" },
      { setting: "ARRW_SCHEDULER_HTTP_PORT", what: PROBES },
    ],
    address: { setting: "ARRW_SCHEDULER_ADDRESS", port: "ARRW_SCHEDULER_GRPC_PORT" },
  },
  {
    name: "worker",
    main: main("worker"),
    ports: [{ setting: "ARRW_WORKER_HTTP_PORT", what: PROBES }],
  },
  {
    name: "gateway",
    main: main("gateway"),
    ports: [
      { setting: "ARRW_GATEWAY_GRPC_PORT", what: "gRPC, public API" },
      { setting: "ARRW_GATEWAY_HTTP_PORT", what: `HTTP, public API, /docs, ${PROBES}` },
    ],
  },
];
