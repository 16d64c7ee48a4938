import { setTimeout as delay } from "node:timers/promises";
import { ArrwError } from "../errors.ts";
import type { Nats } from "./connection.ts";
import { Stream, Subject } from "./names.ts";

/** Objects are parts of PART_BYTES each, the last one may be shorter. */

export const PART_BYTES = 512 * 1024;
const APPEND_TIMEOUT_MS = 10_000;
const READ_AHEAD = 4;
const READ_TRIES = 4;
const RETRY_PAUSE_MS = 100;

export interface Manifest {
  readonly sizeBytes: number;
  readonly parts: number;
  readonly partBytes: number;
  /** Hex. */
  readonly sha256: string;
  /** Who wrote which parts; undefined = the object was written in one go. */
  readonly pieces?: readonly Piece[];
}

/** Parts from `fromPart` on, to where the next piece begins, are this writer's. */
export interface Piece {
  readonly writer: string;
  readonly fromPart: number;
}

/** Parts [first, end) of an object, in order. */
export interface PartRange {
  readonly objectId: string;
  readonly pieces: readonly Piece[] | undefined;
  readonly first: number;
  readonly end: number;
}

/** @throws ArrwError DATA_LOSS when one is missing, UNAVAILABLE */
export async function* readParts(
  nats: Pick<Nats, "getMessage">,
  range: PartRange,
): AsyncGenerator<Uint8Array> {
  const { objectId, pieces, first, end } = range;
  const ahead: Promise<Uint8Array>[] = [];
  for (let part = first; part < end || ahead.length > 0; part++) {
    if (part < end) {
      const wanted = readPart(nats, objectId, part, writerOf(pieces, part));
      // Its failure is met when its turn comes; until then it must not count as unhandled.
      wanted.catch(() => undefined);
      ahead.push(wanted);
    }
    if (ahead.length < READ_AHEAD && part < end - 1) continue;
    const data = await ahead.shift();
    if (data) yield data;
  }
}

/** @throws ArrwError RESOURCE_EXHAUSTED when the storage is full, UNAVAILABLE */
export async function appendObject(nats: Nats, subject: string, data: Uint8Array): Promise<void> {
  try {
    await nats.append(subject, data, { timeoutMs: APPEND_TIMEOUT_MS });
  } catch (error) {
    const full = error instanceof Error && "errCode" in error && error.errCode === 10_077;
    if (full) throw new ArrwError("RESOURCE_EXHAUSTED", "the object storage is full", { cause: error });
    throw new ArrwError("UNAVAILABLE", "the object storage does not answer", { cause: error });
  }
}

function writerOf(pieces: readonly Piece[] | undefined, part: number): string | undefined {
  return pieces?.findLast(({ fromPart }) => fromPart <= part)?.writer;
}

async function readPart(
  nats: Pick<Nats, "getMessage">,
  objectId: string,
  part: number,
  writer: string | undefined,
): Promise<Uint8Array> {
  const lastBySubject = Subject.objectPart(objectId, part, writer);
  for (let tries = 1; ; tries++) {
    const found = await nats.getMessage(Stream.objects, { lastBySubject });
    if (found) return found.data;
    // A replica may not have it yet.
    if (tries === READ_TRIES)
      throw new ArrwError("DATA_LOSS", `part ${part} of object ${objectId} is missing`);
    await delay(RETRY_PAUSE_MS);
  }
}
