import { constants, gzip } from "node:zlib";
import {
  type Metadata,
  type ServerInterceptingCall,
  type ServerInterceptor,
  status as Status,
  type StatusObject,
} from "@grpc/grpc-js";
import { ArrwError, type ErrorCode, toArrwError } from "../errors.ts";
import { type CallContext, type CallRuntime, firstText, peerOf, reportEnd } from "./calls.ts";
import type { Connections } from "./connections.ts";
import { hasDetails, toStatus } from "./status.ts";

/**
 * What grpc-js's calls lack: details in the statuses that it makes by itself, compressed responses, an end for clients
 * that don't read, and a look at who calls before their message. It makes statuses past all interceptors, on the innermost call: hence the replaced methods.
 */

/** Who calls what: of a call whose message has not been read. */
export type Admit = (
  path: string,
  call: Pick<CallContext, "peer" | "header">,
) => Promise<unknown> | undefined;

export interface WireOptions extends Pick<CallRuntime, "complete" | "observe" | "log"> {
  /** Largest message taken; bytes above it are never gathered. */
  readonly maxReceiveBytes: number;
  /** What the client of a larger one may do instead. */
  readonly tooLargeHint?: string;
  /** See GrpcServerOptions. */
  readonly admit?: Admit | undefined;
}

type GivenStatus = Partial<StatusObject> & Pick<StatusObject, "code" | "details">;

/** The innermost call; its public type has neither `metadata` and `serializeMessage` nor room for a replaced method. */
interface WireCall extends Pick<ServerInterceptingCall, "getPeer" | "getAuthContext"> {
  readonly metadata: Metadata;
  startRead(): void;
  sendMetadata(metadata: Metadata): void;
  sendMessage(message: unknown, callback: () => void): void;
  sendStatus(status: GivenStatus): void;
  serializeMessage(message: unknown): Buffer;
}

/** Smaller ones gain nothing. */
const MIN_COMPRESSED_BYTES = 1_024;
/** A message that stays larger than this share of itself says that the call's others will, too. */
const WORTHWHILE = 0.9;
const FRAME_BYTES = 5;

class Compressed {
  readonly frame: Buffer;

  constructor(bytes: Buffer) {
    this.frame = Buffer.allocUnsafe(FRAME_BYTES + bytes.length);
    this.frame.writeUInt8(1, 0);
    this.frame.writeUInt32BE(bytes.length, 1);
    bytes.copy(this.frame, FRAME_BYTES);
  }
}

/** The innermost interceptor. */
export function wireCalls(connections: Connections, options: WireOptions): ServerInterceptor {
  const named = statusNames(options);
  return (method, call) => {
    const wire = call as unknown as WireCall;
    const { arrival } = connections;
    const send = wire.sendStatus;
    wire.sendStatus = (status) => {
      send.call(wire, status.code === Status.OK || hasDetails(status) ? status : named(status));
      connections.ending(arrival);
    };
    const write = wire.sendMessage;
    wire.sendMessage = (message, callback) => {
      connections.writing(arrival);
      write.call(wire, message, () => {
        connections.written(arrival);
        callback();
      });
    };
    if (options.admit && !method.requestStream) admitFirst(wire, method.path, options.admit, options);
    if (arrival.gzip) compressResponses(wire, method.responseSerialize);
    return call as ServerInterceptingCall;
  };
}

/** The stream of a call is paused until its first read. */
function admitFirst(wire: WireCall, path: string, admit: Admit, options: WireOptions): void {
  const read = wire.startRead;
  wire.startRead = () => {
    wire.startRead = read;
    const startedAt = performance.now();
    const refuse = (thrown: unknown): void => {
      const error = options.complete(toArrwError(thrown));
      reportEnd(options, path, startedAt, error);
      wire.sendStatus(toStatus(error));
    };
    try {
      const admitted = admit(path, {
        // Few ask for it.
        get peer() {
          return peerOf(wire);
        },
        header: (name) => firstText(wire.metadata, name),
      });
      if (admitted) admitted.then(() => read.call(wire), refuse);
      else read.call(wire);
    } catch (error) {
      refuse(error);
    }
  };
}

/** Statuses that grpc-js makes are INTERNAL or a text that helps nobody: what the client did has a name. */
function statusNames(options: WireOptions): (status: GivenStatus) => GivenStatus {
  const { maxReceiveBytes, tooLargeHint, complete } = options;
  const tooLarge = new ArrwError(
    "RESOURCE_EXHAUSTED",
    `the message is larger than ${maxReceiveBytes} bytes${tooLargeHint ? `: ${tooLargeHint}` : ""}`,
    { reason: "MESSAGE_TOO_LARGE", metadata: { max_bytes: String(maxReceiveBytes) } },
  );
  const nameOf = ({ code, details: text }: GivenStatus): ArrwError => {
    if (/^Received message (larger than max|that decompresses)/.test(text)) return tooLarge;
    if (/^(Error deserializing request|Failed to decompress|Invalid grpc-timeout)/.test(text)) {
      return new ArrwError("INVALID_ARGUMENT", `the message can't be read: ${text}`, {
        reason: "MALFORMED_MESSAGE",
      });
    }
    if (/unsupported encoding/.test(text)) {
      return new ArrwError("UNIMPLEMENTED", `${text}: identity, deflate and gzip are taken`, {
        reason: "UNSUPPORTED_COMPRESSION",
      });
    }
    if (/^Received (no|a second) request message/.test(text)) {
      return new ArrwError("UNIMPLEMENTED", "the method takes exactly one request message", {
        reason: "WRONG_MESSAGE_COUNT",
      });
    }
    return new ArrwError((Status[code] ?? "UNKNOWN") as ErrorCode, text);
  };
  return (status) => toStatus(complete(nameOf(status)));
}

function compressResponses(wire: WireCall, serialize: (message: unknown) => Buffer): void {
  let worthwhile = true;
  const { sendMetadata, sendMessage, serializeMessage } = wire;
  wire.sendMetadata = (metadata) => {
    const own = metadata.clone();
    own.set("grpc-encoding", "gzip");
    sendMetadata.call(wire, own);
  };
  wire.serializeMessage = (message) =>
    message instanceof Compressed ? message.frame : serializeMessage.call(wire, message);
  wire.sendMessage = (message, callback) => {
    const bytes = worthwhile ? serialize(message) : undefined;
    if (!bytes || bytes.length < MIN_COMPRESSED_BYTES) {
      sendMessage.call(wire, bytes ?? message, callback);
      return;
    }
    gzip(bytes, { level: constants.Z_BEST_SPEED }, (error, packed) => {
      worthwhile = !error && packed.length < bytes.length * WORTHWHILE;
      sendMessage.call(wire, worthwhile ? new Compressed(packed) : bytes, callback);
    });
  };
}
