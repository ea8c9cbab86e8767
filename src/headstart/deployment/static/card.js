/** One picture and what the model says of it. */

import { button, element } from "./elements.js";
import { ServerError, ask } from "./server.js";
import { currentLanguage, knows, millions, percent, say } from "./words.js";

const BARS = 5;

let numbers = 0;

/** Why there is no answer, in words; what the server says is English. */
export function reasonOf(item) {
  if (item.row) return item.row.reason.replace(`${item.row.status.replaceAll("-", " ")}: `, "");
  if (item.why?.key) {
    const { pixels } = item.why.values;
    return say(item.why.key, { ...item.why.values, ...(pixels && { limit: millions(pixels) }) });
  }
  return item.why?.text ?? "";
}

export class Card {
  /**
   * @param {object} item - As in `queue.js`.
   * @param {object} model - What `/metadata` said.
   * @param {(words: string) => void} speak - To a screen reader.
   */
  constructor(item, model, speak) {
    this.item = item;
    this.model = model;
    this.speak = speak;
    this.address = URL.createObjectURL(item.file);
    this.heat = null; // {url} | {busy} | {error}
    this.shown = false;
    this.lost = false; // the browser cannot draw this kind of picture
    this.stop = new AbortController();
    this.id = `card-${++numbers}`;
    this.root = element("li", { className: "card", "aria-labelledby": `${this.id}-name ${this.id}-title` });
    this.render();
  }

  /** What a screen reader is told when it is done. */
  summary() {
    const { row } = this.item;
    if (row?.prediction == null) return this.title();
    const told = `${row.prediction}, ${percent(row.confidence)}`;
    return row.unknown ? `${told}, ${say("unknown")}` : told;
  }

  title() {
    const { item } = this;
    if (!item.ended) return say(item.state);
    return item.row?.prediction ?? say(knows(`status_${item.status}`) ? `status_${item.status}` : "status_answer");
  }

  forget() {
    this.stop.abort();
    URL.revokeObjectURL(this.address);
    if (this.heat?.url) URL.revokeObjectURL(this.heat.url);
  }

  render() {
    const { item } = this;
    const focused = this.root.contains(document.activeElement);
    const row = item.row;
    this.root.classList.toggle("error", item.ended && row?.prediction == null);
    this.root.classList.toggle("warning", Boolean(row?.unknown));
    this.root.setAttribute("aria-busy", String(!item.ended));
    this.root.replaceChildren(
      this.picture(),
      element("div", { className: "told" }, ...(row?.prediction == null ? this.without() : this.answer(row))),
    );
    if (focused) this.root.querySelector("button")?.focus();
  }

  picture() {
    const { item } = this;
    const hot = this.shown && this.heat?.url;
    const blank = element("span", { className: "blank", textContent: say("no_preview") });
    const image = element("img", {
      decoding: "async", loading: "lazy", src: hot || this.address,
      alt: hot ? say("heat_alt", { name: item.name, class: this.spoken(item.row) }) : say("preview", { name: item.name }),
      onerror: () => { this.lost = true; image.replaceWith(blank); },
    });
    return element("figure", {},
      this.lost && !hot ? blank : image,
      element("figcaption", { id: `${this.id}-name`, textContent: item.name }));
  }

  without() {
    const { item } = this;
    const parts = [element("h3", { id: `${this.id}-title`, textContent: this.title() })];
    if (item.state === "sending") parts.unshift(element("span", { className: "turning", "aria-hidden": "true" }));
    const reason = item.ended ? reasonOf(item) : "";
    if (reason) parts.push(element("p", { className: "why quiet", textContent: reason, lang: this.languageOf(item) }));
    return parts;
  }

  answer(row) {
    return [
      element("h3", { id: `${this.id}-title`, textContent: this.asks(row) ? say("ask") : row.prediction }),
      row.unknown ? element("p", { className: "unknown" },
        element("strong", { className: "pill", textContent: say("unknown") }), ` ${say("unknown_is")}`) : null,
      ranked(row)[0][0] === row.prediction ? null : hint(this.rule(row)),
      bars(row),
      row.note ? element("p", { className: "hint quiet", lang: "en", textContent: row.note }) : null,
      this.model.explains ? this.explanation(row) : null,
    ].filter(part => part !== null);
  }

  /** Whether a person is to look, as mistakes cost more. */
  asks(row) {
    return Boolean(this.model.costs) && !(row.prediction in row.probabilities);
  }

  /** Why the answer is not the most probable class. */
  rule(row) {
    if (this.asks(row)) return say("ask_is");
    return say(this.model.costs ? "cheapest" : "favoured", { name: row.prediction });
  }

  /** What its heat map speaks for. */
  spoken(row) {
    return this.asks(row) ? ranked(row)[0][0] : row.prediction;
  }

  explanation(row) {
    const key = this.heat?.busy ? "heat_busy" : this.shown ? "heat_hide" : "heat";
    const toggle = button(say(key), () => this.toggle(row), {
      className: "small", "aria-describedby": `${this.id}-name`,
    });
    return element("div", { className: "heat" }, toggle, hint(this.explained(row)));
  }

  /** What is said of its heat map. */
  explained(row) {
    if (this.heat?.error) return this.heat.error;
    return this.shown ? say("heat_is", { class: this.spoken(row) }) : "";
  }

  async toggle(row) {
    if (this.heat?.busy) return;
    if (!this.heat?.url) {
      this.heat = { busy: true };
      this.render();
      this.heat = await this.explanationOf(row);
      if (this.stop.signal.aborted) return;
      this.shown = Boolean(this.heat.url);
    } else this.shown = !this.shown;
    this.render();
    this.speak(this.explained(row));
  }

  async explanationOf(row) {
    const form = new FormData();
    form.append("files", this.item.file, this.item.name.split("/").at(-1));
    try {
      const response = await ask(`explain?of=${encodeURIComponent(this.spoken(row))}`, form, this.stop.signal);
      return { url: URL.createObjectURL(await response.blob()) };
    } catch (error) {
      if (!(error instanceof ServerError)) return { error: say("unreachable") };
      return { error: error.status ? `${error.message} ${error.fix}`.trim() : say("unreachable") };
    }
  }

  languageOf(item) {
    return item.row || item.why?.text ? "en" : currentLanguage();
  }
}

function ranked(row) {
  return Object.entries(row.probabilities).sort((a, b) => b[1] - a[1]);
}

const hint = text => element("p", { className: "hint quiet", textContent: text });

/** The most probable classes, and what is left for the others together. */
function bars(row) {
  const all = ranked(row);
  const list = element("ul", { className: "bars", role: "list", "aria-label": say("sure_is") });
  const put = (name, share, kind) => {
    const fill = element("span", { className: "fill" });
    fill.style.width = `${100 * share}%`;
    list.append(element("li", { className: kind },
      element("span", { className: "name", textContent: name }),
      element("span", { className: "share", textContent: percent(share) }),
      element("span", { className: "track", "aria-hidden": "true" }, fill)));
  };
  for (const [name, share] of all.slice(0, BARS)) put(name, share, name === row.prediction ? "own" : "");
  const rest = all.slice(BARS);
  if (rest.length) put(say("rest", { n: rest.length }), rest.reduce((sum, [, share]) => sum + share, 0), "rest");
  return list;
}
