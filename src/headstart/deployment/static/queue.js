/** From files to answers, a few at a time: one request under way, small enough for the limits of the server. */

import { ServerError, ask, pause } from "./server.js";
import { FORM, refusalOf } from "./sizes.js";

const ATTEMPTS = 3; // at one picture, where the server fails

/**
 * One picture on its way.
 *
 * `state`: waiting, sending, done (`row` is the server's), refused (never sent, `why`) or failed (`why`; it can
 * be tried again).
 */
export class Item {
  constructor(file, name) {
    this.file = file;
    this.name = name;
    this.reset();
  }

  reset() {
    this.state = "waiting";
    this.row = null;
    this.why = null;
    this.alone = false;
    this.attempts = 0;
    this.spoken = false; // to a screen reader
  }

  get ended() {
    return !["waiting", "sending"].includes(this.state);
  }

  /** `ok`, or why there is no answer. */
  get status() {
    return this.row?.status ?? this.why?.status ?? "not-sent";
  }
}

/**
 * @param {object} told
 * @param {(items: Item[]) => void} told.changed - The state of these has changed.
 * @param {(seconds: number) => void} told.busy - The server asked to wait so long.
 * @param {(error: ServerError) => void} told.stopped - Nothing can be sent for now.
 * @param {() => void} told.idle - All is done, or given up.
 */
export class Queue {
  constructor(told) {
    this.told = told;
    this.items = [];
    this.limits = null;
    this.stop = null;
  }

  get running() {
    return this.stop !== null;
  }

  add(items) {
    this.items.push(...items);
    this.run();
  }

  /** What failed or was cancelled is sent once more. */
  again() {
    const failed = this.items.filter(item => item.state === "failed");
    for (const item of failed) item.reset();
    this.told.changed(failed);
    this.run();
  }

  /** What has no answer yet stays without one. */
  cancel() {
    this.stop?.abort();
    const open = this.items.filter(item => !item.ended);
    for (const item of open) this.fail(item, "not-sent", "cancelled");
    this.told.changed(open);
  }

  clear() {
    this.stop?.abort();
    this.items = [];
  }

  async run() {
    if (this.running || this.limits === null) return;
    const stop = this.stop = new AbortController();
    try {
      for (let group; (group = await this.next(stop.signal)).length;) await this.send(group, stop.signal);
    } catch (error) {
      if (!stop.signal.aborted) this.told.stopped(error);
    }
    this.stop = null;
    if (stop.signal.aborted && this.items.some(item => !item.ended)) this.run(); // added since
    else this.told.idle();
  }

  /** The next pictures that fit into one request. */
  async next(signal) {
    const { files, batch_size: batch, request_bytes: most } = this.limits;
    const group = [];
    let bytes = 0;
    for (const item of this.items) {
      if (item.state !== "waiting") continue;
      const why = item.attempts ? null : await refusalOf(item.file, this.limits);
      if (signal.aborted) return [];
      if (why) {
        Object.assign(item, { state: "refused", why });
        this.told.changed([item]);
        continue;
      }
      const more = item.file.size + FORM;
      if (group.length && (item.alone || bytes + more > most)) break;
      group.push(item);
      bytes += more;
      if (item.alone || group.length >= Math.min(files, batch)) break;
    }
    return group;
  }

  async send(group, signal) {
    const form = new FormData();
    for (const item of group) {
      item.state = "sending";
      item.attempts += 1;
      form.append("files", item.file, item.name.split("/").at(-1));
    }
    this.told.changed(group);
    try {
      const response = await ask("predict", form, signal, this.told.busy);
      const { predictions } = await response.json();
      if (signal.aborted) return;
      group.forEach((item, i) => Object.assign(item, { state: "done", row: predictions[i] }));
    } catch (error) {
      if (signal.aborted) return;
      await this.failed(group, error, signal);
    }
    this.told.changed(group);
  }

  /** A request without answers: each picture alone, the server after a while, or the end. */
  async failed(group, error, signal) {
    const again = (which = () => true) => group.filter(which).forEach(item => { item.state = "waiting"; });
    if (!(error instanceof ServerError)) {
      for (const item of group) this.fail(item, "failed", null);
    } else if (error.status === 0 && await this.lost(group)) {
      again(item => item.state === "sending");
    } else if (error.status === 0 || error.status === 401) {
      const open = this.items.filter(item => !item.ended);
      for (const item of open) this.fail(item, "not-sent", reasonOf(error));
      this.told.changed(open);
      throw error;
    } else if (group.length > 1) {
      if (error.status === 503) await pause(error.wait ?? 1, signal);
      for (const item of group) item.alone = true;
      again();
    } else if (error.status === 503 && group[0].attempts < ATTEMPTS) {
      await pause(error.wait ?? 1, signal);
      again();
    } else {
      this.answered(group[0], error);
    }
  }

  /** Whether files of a group cannot be read any more, which looks like a broken connection; they are refused. */
  async lost(group) {
    for (const item of group) {
      const why = await refusalOf(item.file, this.limits);
      if (why) Object.assign(item, { state: "refused", why });
    }
    return group.some(item => item.state === "refused");
  }

  /** The lone picture of a request: what is wrong with it stands in the error. */
  answered(item, error) {
    const [, status, reason] = /\(([a-z-]+)\): (.*?)\.?$/s.exec(error.message) ?? [];
    if (error.code === "HS-SERVE-026" && status) {
      const empty = { prediction: null, confidence: null, unknown: null, unknown_score: null };
      item.row = { status, reason, note: "", probabilities: {}, ...empty };
      item.state = "done";
    } else {
      this.fail(item, "failed", null, `${error.message} ${error.fix} ${error.code && `[${error.code}]`}`.trim());
    }
  }

  fail(item, status, key, text = "") {
    Object.assign(item, { state: "failed", row: null, why: { status, key, text, values: {} } });
  }
}

const reasonOf = error => (error.status === 401 ? "token_needed" : "unreachable");
