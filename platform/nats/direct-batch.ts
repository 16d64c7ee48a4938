import { createInbox, type Msg, type NatsConnection, type Subscription } from "nats";
import { unavailable } from "../errors.ts";

/**
 * Many stored messages for one request, from any replica of the stream. nats-server 2.10 does not know how: it answers
 * with the first one alone. Built here because the client's own takes only "the last of each subject".
 */

export interface StoredMessage {
  readonly sequence: number;
  readonly subject: string;
  readonly data: Uint8Array;
}

export interface BatchRange {
  readonly subject: string;
  /** First sequence wanted; what is not there is passed over. */
  readonly from: number;
  readonly maxMessages: number;
  /** At least one message comes, however large. */
  readonly maxBytes: number;
}

/**
 * A message as the server gives it from a stream, or publishes it once more; undefined = it is none. The server puts its
 * headers behind those that the message was published with, which may have the same names: the last one counts.
 */
export function storedMessage({ headers, data }: Msg): StoredMessage | undefined {
  const sequence = Number(headers?.last("Nats-Sequence"));
  return sequence > 0 ? { sequence, subject: headers?.last("Nats-Subject") ?? "", data } : undefined;
}

/** Each names the one before it: a link that broke and came back may have lost those between. 2.10 doesn't say. */
function isMissingSome({ headers }: Msg, before: StoredMessage | undefined): boolean {
  const named = headers?.last("Nats-Last-Sequence") ?? "";
  return before !== undefined && named !== "" && Number(named) !== before.sequence;
}

/** `api`: "$JS.API.DIRECT.GET.<stream>", or what it is imported as. Messages in order; none: the replica that answered has nothing from there on. @throws ArrwError UNAVAILABLE */
export function directBatch(
  connection: NatsConnection,
  api: string,
  range: BatchRange,
  timeoutMs: number,
): Promise<StoredMessage[]> {
  const messages: StoredMessage[] = [];
  return new Promise((resolve, reject) => {
    let subscription: Subscription | undefined;
    let timer: NodeJS.Timeout | undefined;
    const end = (error?: unknown): void => {
      clearTimeout(timer);
      subscription?.unsubscribe();
      if (error === undefined) resolve(messages);
      else
        reject(
          unavailable(`messages of ${api.split(".").at(-1)} can't be read: ${String(error)}`, {
            cause: error,
          }),
        );
    };
    const listen = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => end(new Error("no answer")), timeoutMs);
    };
    const onMessage = (answer: Msg): void => {
      const { headers } = answer;
      const code = headers?.code ?? 0;
      // 204: all are there. 404: there is none.
      const message = storedMessage(answer);
      if (code === 204 || code === 404) end();
      else if (code !== 0 || !message) end(new Error(headers?.description || `status ${code}`));
      else if (isMissingSome(answer, messages.at(-1))) end(new Error("some were lost on the way"));
      else {
        messages.push(message);
        if (headers?.get("Nats-Num-Pending") === "") end();
        else listen();
      }
    };
    try {
      const inbox = createInbox();
      subscription = connection.subscribe(inbox, {
        callback: (error, message) => (error ? end(error) : onMessage(message)),
      });
      const { subject, from, maxMessages, maxBytes } = range;
      const request = { seq: from, next_by_subj: subject, batch: maxMessages, max_bytes: maxBytes };
      connection.publish(api, JSON.stringify(request), { reply: inbox });
      listen();
    } catch (error) {
      end(error);
    }
  });
}
