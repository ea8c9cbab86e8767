/** How large a picture is, told from the first bytes of its file: what the server would refuse is not sent. */

const HEAD = 2 ** 19; // bytes; whatever has its size behind them is left to the server
const MEGABYTE = 2 ** 20;
export const FORM = 4096; // bytes of a multipart form around one file, at most

/** Largest file that can be sent, bytes. */
export function mostBytes(limits) {
  return Math.min(limits.file_bytes, limits.request_bytes - FORM);
}

/**
 * Why a file is not sent: `{status, key, values}`, key and values for `say`; null if it is.
 *
 * @param {File} file
 * @param {object} limits - Of `/metadata`.
 */
export async function refusalOf(file, limits) {
  const most = mostBytes(limits);
  if (file.size > most) {
    const values = { mb: (file.size / MEGABYTE).toFixed(1), limit: Math.floor(most / MEGABYTE * 10) / 10 };
    return { status: "too-large", key: "too_many_bytes", values };
  }
  let head;
  try {
    head = new DataView(await file.slice(0, HEAD).arrayBuffer());
  } catch {
    return { status: "forbidden", key: "not_readable", values: {} };
  }
  const size = sizeOf(head);
  const limit = size?.plainJpeg ? limits.jpeg_pixels : limits.pixels;
  if (size === null || size.width * size.height <= limit) return null;
  const values = { width: size.width, height: size.height, pixels: limit };
  return { status: "too-large", key: "too_many_pixels", values };
}

/** `{width, height, plainJpeg}` of a PNG, GIF, WebP, BMP or JPEG; null if the bytes do not say. */
export function sizeOf(view) {
  try {
    if (starts(view, 0, "\x89PNG")) return size(view.getUint32(16), view.getUint32(20));
    if (starts(view, 0, "GIF8")) return size(view.getUint16(6, true), view.getUint16(8, true));
    if (starts(view, 0, "BM")) return size(view.getInt32(18, true), Math.abs(view.getInt32(22, true)));
    if (starts(view, 8, "WEBPVP8X")) return size(1 + uint24(view, 24), 1 + uint24(view, 27));
    if (starts(view, 8, "WEBPVP8L")) {
      const bits = view.getUint32(21, true);
      return size(1 + (bits & 0x3fff), 1 + (bits >>> 14 & 0x3fff));
    }
    if (starts(view, 8, "WEBPVP8 ")) return size(view.getUint16(26, true) & 0x3fff, view.getUint16(28, true) & 0x3fff);
    if (starts(view, 0, "\xff\xd8\xff")) return sizeOfJpeg(view);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // the file ends too early
  }
  return null;
}

const size = (width, height) => ({ width, height, plainJpeg: false });
const uint24 = (view, at) => view.getUint16(at, true) + 65536 * view.getUint8(at + 2);
const starts = (view, at, text) => [...text].every((letter, i) => view.getUint8(at + i) === letter.charCodeAt(0));

/** Of the first frame header. Plain: the baseline and extended ones, which are decoded at a reduced scale. */
function sizeOfJpeg(view) {
  for (let at = 2; ;) {
    const marker = view.getUint16(at);
    if (marker === 0xffff) at += 1;
    else if (marker >= 0xffc0 && marker <= 0xffcf && ![0xffc4, 0xffc8, 0xffcc].includes(marker)) {
      return {
        width: view.getUint16(at + 7), height: view.getUint16(at + 5), plainJpeg: marker <= 0xffc1,
      };
    } else if (marker < 0xff00) return null;
    else at += 2 + view.getUint16(at + 2);
  }
}
