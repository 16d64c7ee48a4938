import { silentLog } from "../../../platform/log.ts";
import { Nats } from "../../../platform/nats/connection.ts";
import { Stream, Subject } from "../../../platform/nats/names.ts";
import { ensureStreams } from "../../../platform/nats/streams.ts";

/** Connects, reads a stream to its end now and then, stops, says so and has nothing left to do. */

const BYTES = 32 * 1024 * 1024;
const nats = new Nats({ url: process.argv[2] ?? "", name: "test", log: silentLog() });
await nats.start();
await ensureStreams(nats, { journalMaxBytes: BYTES, objectsMaxBytes: BYTES, replicas: 1 });
await nats.append(Subject.outcomes, Buffer.from("1"), { timeoutMs: 5_000 });
for (let n = 0; n < 20; n++) await nats.readToEnd(Stream.outcomes, 1, () => undefined, 5_000);
await nats.stop();
process.stdout.write("stopped\n");
