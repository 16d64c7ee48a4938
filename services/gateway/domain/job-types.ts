import type { JobSpec } from "../../../proto/gen/arrwdb/v1/jobs.ts";

type SpecCase = NonNullable<JobSpec["spec"]>["$case"];

interface JobType {
  /** Its public name: the field of JobSpec. */
  readonly name: string;
  readonly needsLibrary: boolean;
  /** This version has a handler for it; a submit of another type is UNIMPLEMENTED. */
  readonly available: boolean;
  /** Its items have outcomes of their own. */
  readonly hasItems?: boolean;
}

const TYPES: Readonly<Record<SpecCase, JobType>> = {
  batchImport: { name: "batch_import", needsLibrary: true, available: true, hasItems: true },
  indexRebuild: { name: "index_rebuild", needsLibrary: true, available: true },
  indexOptimize: { name: "index_optimize", needsLibrary: true, available: true },
  regenerateEmbeddings: { name: "regenerate_embeddings", needsLibrary: true, available: true },
  batchDelete: { name: "batch_delete", needsLibrary: true, available: true, hasItems: true },
  batchExport: { name: "batch_export", needsLibrary: true, available: true },
  echo: { name: "echo", needsLibrary: false, available: true },
};

export const JOB_TYPE_NAMES: readonly string[] = Object.values(TYPES).map(({ name }) => name);

/** undefined: no spec is set. */
export function jobTypeOf(spec: JobSpec | undefined): JobType | undefined {
  return spec?.spec && TYPES[spec.spec.$case];
}

/** Whether jobs of the type have items that ListJobItems lists. */
export function typeHasItems(name: string): boolean {
  return Object.values(TYPES).some((type) => type.name === name && type.hasItems);
}
