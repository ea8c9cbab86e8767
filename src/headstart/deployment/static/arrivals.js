/** How pictures come to the page: dropped (folders, too), chosen, pasted. */

import { byId } from "./elements.js";

/**
 * Listens on the whole window, so that a picture beside the target does not replace the page.
 *
 * @param {(named: {file: File, name: string}[], passedOver: number) => void} arrived
 */
export function listen(arrived) {
  let depth = 0; // of elements that the pointer has entered
  const over = shown => byId("over").classList.toggle("shown", shown);
  const holdsFiles = event => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", event => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    depth += 1;
    over(true);
  });
  addEventListener("dragleave", event => {
    if (holdsFiles(event)) over((depth = Math.max(0, depth - 1)) > 0);
  });
  addEventListener("dragover", event => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
  });
  addEventListener("drop", async event => {
    depth = 0;
    over(false);
    if (!event.dataTransfer) return;
    event.preventDefault();
    arrived(...await dropped(event.dataTransfer));
  });
  addEventListener("paste", event => {
    const files = [...event.clipboardData?.files ?? []];
    if (!files.length && event.target.closest?.("input")) return;
    event.preventDefault();
    arrived(files.map(file => ({ file, name: pastedName(file) })), 0);
  });
  for (const id of ["files", "photo"]) {
    byId(id).addEventListener("change", event => {
      const files = [...event.target.files];
      event.target.value = ""; // so that the same file can be chosen again
      if (files.length) arrived(files.map(file => ({ file, name: file.name })), 0);
    });
  }
}

let pasted = 0;

/** Browsers call every pasted picture image.png. */
function pastedName(file) {
  return file.name && file.name !== "image.png" ? file.name : `pasted-${++pasted}.png`;
}

/** All files of a drop. Of folders, what is no picture is passed over, and counted. */
async function dropped(transfer) {
  const entries = [...transfer.items].filter(item => item.kind === "file").map(item => item.webkitGetAsEntry?.());
  if (!entries.some(entry => entry?.isDirectory)) {
    return [[...transfer.files].map(file => ({ file, name: file.name })), 0];
  }
  const found = [];
  let passedOver = 0;
  const walk = async (entry, inside) => {
    if (entry.isDirectory) {
      const reader = entry.createReader();
      for (let some; (some = await new Promise((...ends) => reader.readEntries(...ends))).length;) {
        for (const one of some) await walk(one, true);
      }
      return;
    }
    const file = await new Promise((...ends) => entry.file(...ends));
    const isPicture = !file.name.startsWith(".") && (!file.type || file.type.startsWith("image/"));
    if (inside && !isPicture) passedOver += 1;
    else found.push({ file, name: entry.fullPath.replace(/^\//, "") });
  };
  for (const entry of entries) if (entry) await walk(entry, false);
  found.sort((a, b) => (a.name < b.name ? -1 : 1));
  return [found, passedOver];
}
