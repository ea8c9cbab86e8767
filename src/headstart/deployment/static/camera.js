/** Photos: by the phone's own camera program, or with a shutter in the page. */

import { byId } from "./elements.js";
import { say } from "./words.js";

const QUALITY = 0.92; // of the JPEG

let taken = 0;

/**
 * @param {(file: File) => void} photographed
 */
export function listen(photographed) {
  const dialog = byId("shots");
  const video = byId("video");
  let session = 0; // how many of this opening were taken
  let opened = 0;

  const tell = words => { byId("shots-said").textContent = words; };
  const close = () => {
    opened += 1;
    for (const track of video.srcObject?.getTracks() ?? []) track.stop();
    video.srcObject = null;
  };

  byId("camera").addEventListener("click", async () => {
    if (matchMedia("(pointer: coarse)").matches) {
      byId("photo").click();
      return;
    }
    session = 0;
    byId("shoot").disabled = true;
    video.hidden = false;
    tell(say("camera_starting"));
    dialog.showModal();
    const mine = ++opened;
    try {
      if (!navigator.mediaDevices?.getUserMedia) throw new DOMException("", "InsecureError");
      const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 1920, height: 1080 } });
      if (mine !== opened) { // closed meanwhile
        for (const track of stream.getTracks()) track.stop();
        return;
      }
      video.srcObject = stream;
      await video.play();
      byId("shoot").disabled = false;
      byId("shoot").focus();
      tell(say("camera_ready"));
    } catch (error) {
      if (mine !== opened) return;
      video.hidden = true;
      tell(say(WHY[error.name] ?? "camera_failed"));
    }
  });

  byId("shoot").addEventListener("click", async () => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await new Promise(done => canvas.toBlob(done, "image/jpeg", QUALITY));
    session += 1;
    taken += 1;
    tell(say("camera_taken", { n: session }));
    photographed(new File([blob], `photo-${taken}.jpg`, { type: "image/jpeg" }));
  });
  byId("shots-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", close);
}

const WHY = {
  InsecureError: "camera_insecure",
  NotAllowedError: "camera_forbidden",
  SecurityError: "camera_forbidden",
  NotFoundError: "camera_none",
  OverconstrainedError: "camera_none",
};
