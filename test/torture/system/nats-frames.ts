/** What a NATS client sends, cut into protocol messages: enough of it to repeat a publication. */

export interface Frame {
  readonly bytes: Buffer;
  /** Of a publication; undefined = another protocol message. */
  readonly subject: string | undefined;
  /** Of a publication, without its headers. */
  readonly payload: Buffer | undefined;
}

const CRLF = Buffer.from("\r\n");

/** Takes the bytes as they come; gives whole messages. */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): Frame[] {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const frames: Frame[] = [];
    for (let frame = this.#next(); frame; frame = this.#next()) frames.push(frame);
    return frames;
  }

  #next(): Frame | undefined {
    const lineEnd = this.#rest.indexOf(CRLF);
    if (lineEnd < 0) return undefined;
    const words = this.#rest.toString("latin1", 0, lineEnd).trim().split(/\s+/);
    const operation = words[0]?.toUpperCase();
    const body = lineEnd + CRLF.length;
    if (operation !== "PUB" && operation !== "HPUB") return this.#take(body, undefined, 0);
    // PUB subject [reply] size; HPUB subject [reply] header-size size
    const size = Number(words.at(-1));
    const end = body + size + CRLF.length;
    if (this.#rest.length < end) return undefined;
    const headerSize = operation === "HPUB" ? Number(words.at(-2)) : 0;
    return this.#take(end, words[1], body + headerSize);
  }

  #take(end: number, subject: string | undefined, payloadStart: number): Frame {
    const bytes = this.#rest.subarray(0, end);
    this.#rest = this.#rest.subarray(end);
    const payload =
      subject === undefined ? undefined : bytes.subarray(payloadStart, bytes.length - CRLF.length);
    return { bytes, subject, payload };
  }
}
