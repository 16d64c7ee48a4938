import { extname } from "node:path";
import { Worker, type WorkerOptions } from "node:worker_threads";

/**
 * Starts a worker thread from a module beside the caller's: `startThread("./vector-thread", import.meta.url, {...})`,
 * without extension. Under tsx on Node 20 a thread doesn't inherit the loader, so a `.ts` entry registers it first;
 * compiled code starts its `.js` directly.
 */
export function startThread(name: string, parentUrl: string, options: WorkerOptions = {}): Worker {
  const extension = extname(new URL(parentUrl).pathname);
  const entry = new URL(`${name}${extension}`, parentUrl);
  if (extension !== ".ts") return new Worker(entry, options);
  const loader = JSON.stringify(import.meta.resolve("tsx/esm/api"));
  const code = `import { register } from ${loader}; register(); await import(${JSON.stringify(entry.href)});`;
  return new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`), options);
}
