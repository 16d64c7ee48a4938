import { createRegistry } from "../../../platform/metrics.ts";
import { Heartbeat } from "../../../services/worker/heartbeat.ts";

/** A process whose main loop stands still for ever once its heartbeat thread runs. `argv[2]`: the NATS server. */

const heartbeat = new Heartbeat({
  natsAccess: { url: process.argv[2] ?? "" },
  logLevel: "info",
  workerId: "stalled",
  stallMs: 2_000,
  registry: createRegistry("worker"),
  encode: () => new Uint8Array(0),
  onReply: () => undefined,
  onCutOff: () => undefined,
  onDied: () => undefined,
});
await heartbeat.start();
process.stdout.write("stalls\n");
for (;;);
