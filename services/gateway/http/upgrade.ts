import { IncomingMessage } from "node:http";

/** Requests that asked for another protocol. */
const ASKED = new WeakSet<IncomingMessage>();

/**
 * A request that becomes another kind of connection for a WebSocket alone. Java's client and curl --http2 ask for HTTP/2
 * with every request ("Upgrade: h2c"), which a server may pass over; once one listens for upgrades at all, Node takes
 * them all for such, and the request would never be answered.
 */
export class UpgradableRequest extends IncomingMessage {
  /** Set by Node's parser, before it has the headers, and read once it has. */
  get upgrade(): boolean {
    return ASKED.has(this) && this.headers.upgrade?.toLowerCase() === "websocket";
  }

  set upgrade(asked: boolean | null) {
    if (asked) ASKED.add(this);
    else ASKED.delete(this);
  }
}
