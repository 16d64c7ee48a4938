import type { Logger } from "../../platform/log.ts";
import type { MemoryLimit } from "./build-plan.ts";
import type { BuildKind, BuildOutcome } from "./build-rows.ts";
import type { Generation, OwnThread } from "./generation.ts";
import type { LibraryWriter } from "./library-writer.ts";
import type { GenerationRow, Store } from "./store.ts";

export interface BuildEnd {
  readonly kind: BuildKind;
  readonly outcome: BuildOutcome | "dropped";
  readonly seconds: number;
  /** undefined = not measured. */
  readonly recall: number | undefined;
}

/** What builds need of their library. */
export interface BuildHost {
  readonly store: Store;
  readonly writer: LibraryWriter;
  readonly log: Logger;
  /** Folder of the index files. */
  readonly folder: string;
  readonly memory: MemoryLimit;
  /** How long a generation is kept after it was swapped out. */
  readonly retentionMs: number;
  /** A build without a call for so long is dropped. */
  readonly keepAliveMs: number;
  live(): Generation;
  newGeneration(row: GenerationRow, own: OwnThread): Generation;
  /** Searches and writes that come while `commit` runs wait for what it brings: the generation that is live then. */
  route(commit: () => Promise<Generation | undefined>): Promise<void>;
  /** Called, and waited for, before the library has files of a build. */
  markUnsettled(): Promise<void>;
  readonly onBuildEnded: (end: BuildEnd) => void;
}
