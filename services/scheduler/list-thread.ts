import { parentPort, workerData } from "node:worker_threads";
import { type ListThreadData, pack, processMs, type ToListThread } from "./list-protocol.ts";
import { scan } from "./list-scan.ts";
import { StoreFiles } from "./store-files.ts";

/** The thread that reads the store for lists, so that they don't hold up the scheduler. */

const { path } = workerData as ListThreadData;
const files = new StoreFiles(path, { readOnly: true });

parentPort?.on("message", (message: ToListThread) => {
  if (message === "stop") {
    void files.root.close().then(() => parentPort?.close());
    return;
  }
  const { id, request, deadlineMs } = message;
  try {
    if (processMs() >= deadlineMs) throw new Error("its time was up before it was begun");
    const result = pack(scan(files, request));
    parentPort?.postMessage({ id, result }, [result.bytes.buffer]);
  } catch (error) {
    parentPort?.postMessage({ id, error: String(error) });
  }
});
