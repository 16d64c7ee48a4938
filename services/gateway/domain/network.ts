/**
 * Whom an address belongs to, for limits: an IPv4 address to itself, an IPv6 address to its /64, of which one client
 * has all. What is no address is its own.
 */
export function networkOf(address: string): string {
  const plain = address.replace(/%.*$/, "").toLowerCase();
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(plain)?.[1];
  if (mapped !== undefined) return mapped;
  if (!plain.includes(":")) return plain;
  const [head = "", tail] = plain.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  // An address that ends like IPv4 has that in the place of two groups.
  const rightLength = right.length + (right.at(-1)?.includes(".") ? 1 : 0);
  const zeros = tail === undefined ? 0 : Math.max(0, GROUPS - left.length - rightLength);
  const groups = [...left, ...Array<string>(zeros).fill("0"), ...right].slice(0, NETWORK_GROUPS);
  return `${groups.map((group) => group.replace(/^0+(?=.)/, "")).join(":")}::/64`;
}

const GROUPS = 8;
const NETWORK_GROUPS = 4;
