/** Time as loops see it; a simulation gives them another one. */
export interface Clock {
  /** Unix ms. May jump, also backwards. */
  now(): number;
  /** ms from some start; never goes back and does not jump. */
  monotonic(): number;
  /** Calls back once, `ms` from now, unless it is cancelled. */
  after(ms: number, callback: () => void): Cancel;
  /** Calls back every `ms` until it is cancelled. */
  every(ms: number, callback: () => void): Cancel;
}

/** May be called at any time, also more than once. */
export type Cancel = () => void;

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
  every(ms, callback) {
    const timer = setInterval(callback, ms);
    return () => clearInterval(timer);
  },
};
