import { setTimeout as delay } from "node:timers/promises";
import {
  HealthService,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../../proto/gen/health/v1/health.ts";
import { ArrwError } from "../errors.ts";
import type { ReadyCheck } from "../metrics.ts";
import { type CallContext, type ImplementedService, implement } from "./server.ts";

/** grpc.health.v1 from readiness checks: per service, and "" for the whole process. */

const POLL_MS = 500;
const MAX_NAME_LENGTH = 1_000;

/** `services`: full names ("arrwdb.v1.JobService"), each with what it needs to serve. */
export function healthService(services: Readonly<Record<string, readonly ReadyCheck[]>>): ImplementedService {
  const checks = new Map<string, readonly ReadyCheck[]>(Object.entries(services));
  checks.set("", Object.values(services).flat());
  const statusOf = (service: string): ServingStatus => {
    const needed = checks.get(service);
    if (!needed) return ServingStatus.SERVICE_UNKNOWN;
    const ready = needed.every((check) => check() === undefined);
    return ready ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
  };
  return implement(HealthService, {
    check: async ({ service }) => {
      const status = statusOf(service);
      if (status !== ServingStatus.SERVICE_UNKNOWN) return { status };
      const name = JSON.stringify(service.slice(0, MAX_NAME_LENGTH));
      throw new ArrwError("NOT_FOUND", `service ${name} does not exist`, {
        reason: "SERVICE_NOT_FOUND",
        resource: { type: "service", name: service.slice(0, MAX_NAME_LENGTH) },
      });
    },
    list: async () => ({
      statuses: Object.fromEntries([...checks.keys()].map((name) => [name, { status: statusOf(name) }])),
    }),
    watch: ({ service }, context) => changes(() => statusOf(service), context),
  });
}

async function* changes(
  read: () => ServingStatus,
  { signal }: CallContext,
): AsyncGenerator<{ status: ServingStatus }> {
  let known: ServingStatus | undefined;
  while (!signal.aborted) {
    const status = read();
    if (status !== known) yield { status };
    known = status;
    await delay(POLL_MS, undefined, { signal }).catch(() => undefined);
  }
}
