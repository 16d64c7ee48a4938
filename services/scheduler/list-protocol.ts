import type { ScanRequest, ScanResult } from "./list-scan.ts";

/** What the scheduler and its list thread say to each other. */

export interface ListThreadData {
  readonly path: string;
}

/** A scan that nobody waits for once it is late. */
export interface ListTask {
  readonly id: number;
  readonly request: ScanRequest;
  /** On the clock that all threads of a process share, see `processMs`. */
  readonly deadlineMs: number;
}

/** "stop" closes the store's files and ends the thread. */
export type ToListThread = ListTask | "stop";

/** ms on a clock that never jumps and is the same in all threads; `performance.now` starts anew in each. */
export function processMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n);
}

/** The records of a result stand one behind the other in one buffer: they move to the other thread without a copy. */
export type PackedResult = Omit<ScanResult, "records"> & {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly lengths: number[];
};

export function unpack({ bytes, lengths, ...rest }: PackedResult): ScanResult {
  let at = 0;
  const records = lengths.map((length) => {
    at += length;
    return bytes.subarray(at - length, at);
  });
  return { ...rest, records };
}

export function pack({ records, ...rest }: ScanResult): PackedResult {
  const lengths = records.map((record) => record.length);
  const bytes = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0));
  let at = 0;
  for (const record of records) {
    bytes.set(record, at);
    at += record.length;
  }
  return { ...rest, bytes, lengths };
}

export type FromListThread = { readonly id: number } & (
  | { readonly result: PackedResult }
  | { readonly error: string }
);
