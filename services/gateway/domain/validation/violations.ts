/** `field` is a path in the request, `description` names the bound and the value. */
export interface Violation {
  readonly field: string;
  readonly description: string;
}

/** Collects what is wrong with one request; at most 100 are kept, which is more than anybody reads. */
export class Violations {
  readonly list: Violation[] = [];

  add(field: string, description: string): void {
    if (this.list.length < 100) this.list.push({ field, description });
  }

  get full(): boolean {
    return this.list.length >= 100;
  }

  integer(field: string, value: number, min: number, max: number): void {
    if (!(value >= min && value <= max)) this.add(field, `${grouped(min)}..${grouped(max)}; got ${value}`);
  }

  /** UTF-8 bytes; a text of at most max / 3 characters can't be longer and isn't measured. */
  maxBytes(field: string, value: string, max: number): void {
    if (value.length <= max / 3) return;
    const bytes = Buffer.byteLength(value);
    if (bytes > max) this.add(field, `at most ${grouped(max)} bytes; got ${grouped(bytes)}`);
  }

  maxCharacters(field: string, value: string, max: number): void {
    if (value.length > max) {
      this.add(field, `at most ${grouped(max)} characters; got ${grouped(value.length)}`);
    }
  }

  maxItems(field: string, count: number, max: number): void {
    if (count > max) this.add(field, `at most ${grouped(max)}; got ${grouped(count)}`);
  }

  oneOf(field: string, value: string, known: readonly string[]): void {
    if (!known.includes(value)) this.add(field, `one of ${known.join(", ")}; got ${quoted(value)}`);
  }
}

/** 1234567 as "1,234,567". */
export function grouped(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** A client's text in an error: bounded. */
export function quoted(value: string): string {
  return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}...` : value);
}
