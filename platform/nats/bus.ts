import type { Msg } from "nats";

/** A message of core NATS. */
export interface BusMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  /** Answers a request; false when it was none, or when the answer would go to another place than an inbox. */
  respond(data: Uint8Array): boolean;
}

export interface BusSubscription {
  unsubscribe(): void;
}

/** Where answers to requests go. With another one, who asks could have it written where only the asked may write. */
const REPLY = /^(_INBOX|_R_)\./;

export function busMessage(message: Msg): BusMessage {
  return {
    subject: message.subject,
    data: message.data,
    respond: (data) => REPLY.test(message.reply ?? "") && message.respond(data),
  };
}
