/** What the server is asked. It is waited for while it is busy, and given a token when it wants one. */

const LONGEST_WAIT = 600; // seconds

let token = ""; // in memory only
let asking = null;

/** Anything but an answer; `status` 0: none at all. */
export class ServerError extends Error {
  constructor(status, said = {}, wait = null) {
    super(said.message ?? `HTTP ${status}`);
    this.status = status;
    this.code = said.code ?? "";
    this.fix = said.fix ?? "";
    this.wait = wait;
  }
}

/** Set by the page: `askToken(wasWrong)` gives a token, or null if there is none. */
export const person = { askToken: async () => null };

/**
 * Sends a request until it is answered.
 *
 * @param {string} path - Relative to the page, so that it works behind a prefix.
 * @param {FormData | null} body - Sent with POST; null: GET.
 * @param {AbortSignal} [signal] - Gives up.
 * @param {(seconds: number) => void} [onBusy] - Told how long the server wants to be left alone (429).
 * @throws {ServerError} Whatever is no answer, but 429, and 401 as long as tokens are given.
 * @throws {DOMException} AbortError.
 */
export async function ask(path, body = null, signal = undefined, onBusy = () => {}) {
  for (;;) {
    const sent = token;
    const headers = sent ? { Authorization: `Bearer ${sent}` } : {};
    let response;
    try {
      response = await fetch(path, {
        method: body ? "POST" : "GET", body, headers, signal, cache: "no-store", credentials: "same-origin",
      });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ServerError(0);
    }
    if (response.ok) return response;
    const error = await errorOf(response);
    if (error.status === 429) {
      const seconds = error.wait ?? 1;
      onBusy(seconds);
      await pause(seconds, signal);
    } else if (error.status === 401) {
      if (sent === token && !(await newToken(sent !== ""))) throw error;
      signal?.throwIfAborted();
    } else {
      throw error;
    }
  }
}

async function errorOf(response) {
  let said = {};
  try {
    said = (await response.json()).error ?? {};
  } catch { /* a proxy answered */ }
  return new ServerError(response.status, said, secondsOf(response.headers.get("Retry-After")));
}

/** Retry-After: seconds, or a date. */
export function secondsOf(header) {
  if (header === null) return null;
  const seconds = /^\s*\d+\s*$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? null : Math.min(Math.max(seconds, 0), LONGEST_WAIT);
}

/** Asks the person once, however many requests wait for it. */
async function newToken(wasWrong) {
  asking ??= person.askToken(wasWrong).finally(() => { asking = null; });
  const given = await asking;
  if (given === null) return false;
  token = given;
  return true;
}

/** Waits, unless it is given up. */
export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const given = () => { clearTimeout(timer); reject(signal.reason); };
    const timer = setTimeout(() => { signal?.removeEventListener("abort", given); resolve(); }, 1000 * seconds);
    if (signal?.aborted) given();
    else signal?.addEventListener("abort", given, { once: true });
  });
}
