import { silentLog } from "../../../platform/log.ts";
import { Nats } from "../../../platform/nats/connection.ts";

/** Connects, stops, says so and has nothing left to do. */

const nats = new Nats({ url: process.argv[2] ?? "", name: "test", log: silentLog() });
await nats.start();
await nats.stop();
process.stdout.write("stopped\n");
