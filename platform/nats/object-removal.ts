import { ArrwError, unavailable } from "../errors.ts";
import { type Part, part } from "../lifecycle.ts";
import type { Logger } from "../log.ts";
import type { BusSubscription } from "./bus.ts";
import type { Nats } from "./connection.ts";
import { Stream, Subject } from "./names.ts";
import type { Purge } from "./stream-calls.ts";

/**
 * Who may purge a stream may purge all of it. So gateways and workers in accounts of their own may not: they ask the
 * schedulers, which remove one object at a time, or what one writer wrote of it.
 */

const ONE_OBJECT = /^arrw\.object\.[A-Za-z0-9-]{1,200}\.(>|\*\.[A-Za-z0-9-]{1,100})$/;
const MAX_AT_A_TIME = 64;
const TIMEOUT_MS = 10_000;
const DONE = "ok";

/** @throws ArrwError UNAVAILABLE, also while no scheduler runs; INVALID_ARGUMENT for more than an object */
export async function askToRemove(nats: Pick<Nats, "request">, which: Purge): Promise<void> {
  const subject = "subject" in which ? which.subject : "";
  if (!ONE_OBJECT.test(subject)) throw new ArrwError("INVALID_ARGUMENT", `${subject} is not one object`);
  const reply = await nats.request(Subject.objectRemoval, Buffer.from(subject), TIMEOUT_MS);
  const answer = Buffer.from(reply).toString();
  if (answer !== DONE) throw unavailable(`objects of ${subject} were not removed: ${answer.slice(0, 200)}`);
}

/** Answers them; one of all the schedulers that run. */
export function objectRemovals(nats: Pick<Nats, "subscribe" | "purge">, log: Logger): Part {
  let subscription: BusSubscription | undefined;
  let running = 0;
  const remove = async (subject: string): Promise<string> => {
    if (!ONE_OBJECT.test(subject)) return "not one object";
    if (running >= MAX_AT_A_TIME) return "too many at a time";
    running += 1;
    try {
      await nats.purge(Stream.objects, { subject });
      return DONE;
    } catch (error) {
      log.warn({ err: error, subject }, "an object could not be removed");
      return "the object storage does not answer";
    } finally {
      running -= 1;
    }
  };
  const start = async (): Promise<void> => {
    const onRequest: Parameters<Nats["subscribe"]>[1] = (message) => {
      const subject = Buffer.from(message.data).toString();
      void remove(subject).then((answer) => message.respond(Buffer.from(answer)));
    };
    subscription = nats.subscribe(Subject.objectRemoval, onRequest, { queue: "schedulers" });
  };
  const stop = async (): Promise<void> => subscription?.unsubscribe();
  return part("object removals", start, stop);
}
