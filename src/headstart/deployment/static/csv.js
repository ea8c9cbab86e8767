/** The table of `headstart predict -o`: the same columns, numbers and quotes. */

const COLUMNS = ["path", "status", "prediction", "confidence", "unknown", "unknown_score"];

/**
 * @param {object[]} items - As in `queue.js`, with their `status`.
 * @param {string[]} classes - In the order of the model.
 * @param {(item: object) => string} reasonOf - Why there is no answer, in words.
 */
export function table(items, classes, reasonOf) {
  const rows = items.map(item => {
    const row = item.row;
    if (row?.prediction == null) {
      const reason = reasonOf(item);
      return [item.name, reason ? `${item.status}: ${reason}` : item.status, "", "", "", "", ...classes.map(() => "")];
    }
    const told = [row.unknown ?? "", row.unknown_score === null ? "" : float(row.unknown_score)];
    const shares = classes.map(name => float(row.probabilities[name]));
    return [item.name, item.status, row.prediction, float(row.confidence), ...told, ...shares];
  });
  const header = [...COLUMNS, ...classes.map(name => `prob:${name}`)];
  return [header, ...rows].map(cells => `${line(cells.map(String))}\n`).join("");
}

function line(cells) {
  const all = cells.some(cell => cell.includes("\r"));
  return cells.map(cell => (all || /[",\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)).join(",");
}

/** A float as Python writes it, with the fewest digits that read back equal. */
export function float(x) {
  const [digits, power] = x.toExponential().split("e");
  const exponent = Number(power);
  if (x !== 0 && (exponent < -4 || exponent >= 16)) {
    return `${digits}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  }
  const plain = String(x);
  return plain.includes(".") ? plain : `${plain}.0`;
}
