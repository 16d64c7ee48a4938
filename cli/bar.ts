/** "████░░░░" of so many characters; what is more than none or less than all looks like it. */
export function bar(share: number, width: number): string {
  const exact = Math.min(1, Math.max(0, share)) * width;
  const full =
    share > 0 && share < 1 ? Math.min(width - 1, Math.max(1, Math.round(exact))) : Math.round(exact);
  return "█".repeat(full) + "░".repeat(width - full);
}
