import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { SCALAR_BYTES } from "./domain/index-memory.ts";
import type { Metric } from "./domain/score.ts";
import type { HnswParameters, Scalar } from "./usearch-index.ts";

/**
 * Files that usearch wrote. It dies on a foreign or damaged one, and reports success on a full disk, so a file is checked
 * before it gets its name (structure) and again before it is loaded (structure and checksum).
 *
 * Layout: u32 rows, u32 row bytes, the rows; 64 bytes of head; 5 u64 (nodes, M, M of the lowest level, levels, entry);
 * i16 level of each node; the nodes.
 */

const HEAD_BYTES = 64;
const GRAPH_HEAD_BYTES = 40;
const MAGIC = "usearch";
const MAJOR_VERSION = 2;
const METRIC_CODES: Record<Metric, number> = { ip: 0x69, cos: 0x63, l2sq: 0x65 };
const SCALAR_CODES: Record<Scalar, number> = { bf16: 4, f32: 11, f16: 12, i8: 23 };

/** What keeps a file from being loaded as an index of these parameters; undefined = nothing. */
export async function structuralFault(path: string, parameters: HnswParameters): Promise<string | undefined> {
  const file = await open(path, "r");
  try {
    return await faultIn(file, parameters);
  } finally {
    await file.close();
  }
}

async function faultIn(file: FileHandle, parameters: HnswParameters): Promise<string | undefined> {
  const { size } = await file.stat();
  const { dimensions, metric, scalar, connectivity } = parameters;
  const rowBytes = dimensions * SCALAR_BYTES[scalar];
  const matrix = await read(file, 0, 8);
  if (!matrix) return `${size} bytes hold no index`;
  const rows = matrix.readUInt32LE(0);
  if (matrix.readUInt32LE(4) !== rowBytes) return `rows of ${matrix.readUInt32LE(4)} bytes, not ${rowBytes}`;
  const headAt = 8 + rows * rowBytes;
  const head = await read(file, headAt, HEAD_BYTES + GRAPH_HEAD_BYTES);
  if (!head) return `${size} bytes are too few for ${rows} rows`;
  if (head.toString("latin1", 0, MAGIC.length) !== MAGIC) return "no usearch head";
  if (head.readUInt16LE(7) !== MAJOR_VERSION) return `usearch format ${head.readUInt16LE(7)}`;
  if (head[13] !== METRIC_CODES[metric]) return "another metric";
  if (head[14] !== SCALAR_CODES[scalar]) return "another scalar";
  if (head.readBigUInt64LE(33) !== BigInt(dimensions)) return "other dimensions";
  if (head.readBigUInt64LE(HEAD_BYTES) !== BigInt(rows)) return "graph and rows differ";
  if (head.readBigUInt64LE(HEAD_BYTES + 8) !== BigInt(connectivity)) return "another connectivity";
  const baseConnectivity = Number(head.readBigUInt64LE(HEAD_BYTES + 16));
  const levelsAt = headAt + HEAD_BYTES + GRAPH_HEAD_BYTES;
  const levels = await read(file, levelsAt, rows * 2);
  if (!levels) return `${size} bytes are too few for ${rows} levels`;
  let nodes = 0;
  for (let i = 0; i < rows; i++) {
    const level = levels.readInt16LE(i * 2);
    if (level < 0) return `node ${i} has level ${level}`;
    nodes += 10 + (4 + 4 * baseConnectivity) + level * (4 + 4 * connectivity);
  }
  const expected = levelsAt + rows * 2 + nodes;
  return size === expected ? undefined : `${size} bytes instead of ${expected}`;
}

async function read(file: FileHandle, position: number, length: number): Promise<Buffer | undefined> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, position);
  return bytesRead === length ? buffer : undefined;
}

/** Hex SHA-256 and size. */
export async function checksum(path: string): Promise<{ readonly bytes: number; readonly sha256: string }> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const part of createReadStream(path, { highWaterMark: 1024 * 1024 })) {
    hash.update(part as Buffer);
    bytes += (part as Buffer).length;
  }
  return { bytes, sha256: hash.digest("hex") };
}

/** Puts a file on the disk under its name: its content first, then the name. */
export async function flushAndRename(from: string, to: string): Promise<void> {
  await flush(from);
  await rename(from, to);
  await flush(dirname(to));
}

async function flush(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
