import { NO_CONTENT, onlyField } from "./answers.ts";
import type { JsonCodec } from "./codec.ts";
import type { Route } from "./route.ts";

/** Libraries, their documents, search. */

const CREATED = 201;
/** Hits where the request doesn't say how many. */
const DEFAULT_K = 10;
const PAGE = [{ name: "page_size" }, { name: "page_token" }];

export function libraryRoutes(codec: JsonCodec): readonly Route[] {
  const library = onlyField(codec, "library", "Library");
  const one = "/v1/libraries/{library_id}";
  const documents = `${one}/documents`;
  return [
    { method: "GET", path: "/v1/libraries", rpc: "LibraryService.ListLibraries", parameters: PAGE },
    {
      method: "POST",
      path: "/v1/libraries",
      rpc: "LibraryService.CreateLibrary",
      status: CREATED,
      answer: library,
      location: ({ library_id }) => `/v1/libraries/${library_id}`,
    },
    { method: "GET", path: one, rpc: "LibraryService.GetLibrary", answer: library },
    { method: "DELETE", path: one, rpc: "LibraryService.DeleteLibrary", answer: NO_CONTENT },
    {
      method: "POST",
      path: `${one}/rollback`,
      rpc: "LibraryService.RollbackGeneration",
      summary: "Goes back to the generation before the last swap",
      answer: library,
    },
    {
      method: "GET",
      path: documents,
      rpc: "LibraryService.ListDocuments",
      parameters: [...PAGE, { name: "include_texts" }],
    },
    { method: "POST", path: `${documents}/list`, rpc: "LibraryService.ListDocuments" },
    {
      method: "GET",
      path: `${documents}/{document_id}`,
      rpc: "LibraryService.GetDocument",
      parameters: [{ name: "include_vectors" }],
      answer: onlyField(codec, "document", "Document"),
    },
    {
      method: "DELETE",
      path: `${documents}/{document_id}`,
      rpc: "LibraryService.DeleteDocument",
      answer: NO_CONTENT,
    },
    {
      method: "POST",
      path: `${one}/search`,
      rpc: "LibraryService.Search",
      body: { request: (body) => ({ k: DEFAULT_K, ...body }) },
    },
  ];
}
