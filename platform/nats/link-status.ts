import { Events, type NatsConnection } from "nats";
import type { Logger } from "../log.ts";
import { Counter, Gauge, type Registry } from "../metrics.ts";

export interface LinkListener {
  readonly log: Logger;
  readonly registry: Registry | undefined;
  readonly onDisconnect: () => void;
  readonly onReconnect: () => void;
}

/** Logs and counts how the connection fares, for as long as there is one. */
export function watchLink(connection: NatsConnection, listener: LinkListener): void {
  const { log, registry, onDisconnect, onReconnect } = listener;
  const registers = registry ? [registry] : [];
  const gauge = new Gauge({ name: "arrw_nats_connected", help: "1 = connected to NATS", registers });
  const reconnects = new Counter({
    name: "arrw_nats_reconnects_total",
    help: "Reconnects to NATS",
    registers,
  });
  gauge.set(1);
  void (async () => {
    for await (const status of connection.status()) {
      if (status.type === Events.Disconnect) {
        gauge.set(0);
        log.warn("connection to NATS lost");
        onDisconnect();
      } else if (status.type === Events.Reconnect) {
        gauge.set(1);
        reconnects.inc();
        log.info("connected to NATS again");
        onReconnect();
      }
    }
  })();
}

/** Waits for a promise, but not longer; how it ends does not matter. */
export async function atMost(ms: number, promise: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([promise.catch(() => undefined), over]);
  clearTimeout(timer);
}
