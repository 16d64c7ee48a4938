export interface Page<T> {
  readonly items: readonly T[];
  /** "" = that was the last page. */
  readonly nextPageToken: string;
}

/** The items of all pages, each page fetched when the one before is used up. */
export async function* pages<T>(fetchPage: (pageToken: string) => Promise<Page<T>>): AsyncGenerator<T> {
  let pageToken = "";
  do {
    const page = await fetchPage(pageToken);
    yield* page.items;
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
}
