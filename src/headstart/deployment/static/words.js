/**
 * Every word of the page, in each of its languages: the same keys in all.
 *
 * `[one, other]`: the first where {n} is 1.
 */
export const WORDS = {
  en: {
    language: "Language",
    skip: "Skip to the results",
    title: "Which one is it?",
    knows: ["This model knows one class.", "This model tells {n} classes apart:"],
    more_classes: "and {n} more, see below",
    connecting: "Asking the server what it knows …",
    drop: "Drop pictures anywhere on this page",
    drop_how: "or choose files, paste from the clipboard, take a photo",
    drop_touch: "Choose pictures or take a photo",
    drop_now: "Let go, and the model looks at them",
    choose: "Choose pictures",
    camera: "Take a photo",
    limits: "Up to {mb} MB and {pixels} pixels each; as many as you like.",
    privacy: "Your pictures go to this server only, and are not kept.",
    results: "Results",
    preview: "Preview of {name}",
    no_preview: "no preview",
    waiting: "Waiting",
    sending: "Being looked at …",
    sure_is: "Probability of each class",
    rest: ["one other class", "{n} other classes"],
    favoured: "“{name}” must not be missed: it is answered even where another class is more probable.",
    cheapest: "“{name}” is expected to cost least, by this model's table of costs.",
    ask: "A person should look",
    ask_is: "By this model's table of costs, any answer of its own would cost more.",
    unknown: "unknown",
    unknown_is: "This looks unlike all pictures that the model was trained on: it may be none of its classes.",
    heat: "Where does it look?",
    heat_hide: "Hide the heat map",
    heat_busy: "Computing …",
    heat_alt: "{name} as the model sees it: warm where it looks for “{class}”",
    heat_is: "Warm colours: what spoke most for “{class}”, in the part of the picture that the model sees.",
    heat_none: "Heat maps of where the model looks are not available: this server lacks PyTorch or matplotlib.",
    progress: "Pictures done: {done} of {n}",
    busy: ["The server is busy: trying again in one second.", "The server is busy: trying again in {n} seconds."],
    live_one: "{name}: {what}",
    live_many: ["One more picture is done.", "{n} more pictures are done."],
    added: ["One picture was added.", "{n} pictures were added."],
    passed_over: ["One file in the folder is no picture: passed over.",
      "{n} files in the folder are no pictures: passed over."],
    no_files: "There was no picture in that.",
    cancel: "Cancel",
    cancelled: "Cancelled.",
    again: ["Try one picture again", "Try {n} pictures again"],
    csv: "Download as CSV",
    clear: "Clear",
    cleared: "All results are cleared.",
    close: "Close",
    status_answer: "No answer",
    "status_empty": "The file is empty",
    "status_lfs-pointer": "This only points to a picture (Git LFS)",
    "status_not-an-image": "This is no picture",
    status_truncated: "The picture is damaged",
    "status_too-large": "The picture is too large",
    "status_too-small": "The picture is too small",
    status_unsupported: "This kind of picture is not supported",
    status_missing: "The file is not there any more",
    status_forbidden: "The browser cannot read the file",
    status_failed: "The server gave no answer",
    "status_not-sent": "Not sent",
    too_many_bytes: "{mb} MB, and the server takes {limit} MB at most.",
    too_many_pixels: "{width} × {height} pixels, and the server takes {limit} at most.",
    not_readable: "It was moved, changed or deleted since, or is a folder.",
    unreachable: "The server does not answer. Is it still running?",
    token_needed: "The server wants a token before it looks at pictures.",
    token_enter: "Enter the token",
    token_title: "A token, please",
    token_why: "Who runs this server has it. It is kept only until you close or reload this page.",
    token_wrong: "The server did not accept this token.",
    token_label: "Token",
    token_use: "Go on",
    retry: "Try again",
    camera_title: "Take a photo",
    camera_live: "What the camera sees",
    camera_starting: "Starting the camera …",
    camera_ready: "Ready.",
    camera_none: "No camera was found.",
    camera_forbidden: "The browser may not use the camera. Allow it beside the address of the page, then try again.",
    camera_failed: "The camera cannot be used: another program may hold it.",
    camera_insecure: "Browsers give the camera only to pages at localhost or with https. Choose a file instead.",
    camera_taken: ["One photo taken.", "{n} photos taken."],
    shoot: "Take the photo",
    about: "About this model",
    about_classes: "Classes",
    about_architecture: "Architecture",
    about_licence: "Licence of its weights",
    about_notice: "Notice",
    about_unknown: "Pictures of something else",
    about_unknown_yes: "are marked as unknown",
    about_unknown_no: "are not recognised by this model: it names one of its classes whatever it is shown",
    about_heat: "Heat maps",
    about_heat_yes: "on request, for each picture",
    about_limits: "Limits",
    about_limits_are: "{mb} MB a file, {pixels} pixels a picture ({jpeg} in a plain JPEG)",
    about_version: "headstart",
    about_programs: "For programs",
    about_nothing: "not stated",
  },
  zh: {
    language: "语言",
    skip: "跳到结果",
    title: "这是哪一类？",
    knows: "本模型能区分 {n} 个类别：",
    more_classes: "还有 {n} 个，见页面下方",
    connecting: "正在询问服务器……",
    drop: "把图片拖到本页任意位置",
    drop_how: "也可以选择文件、从剪贴板粘贴，或者拍照",
    drop_touch: "选择图片或拍照",
    drop_now: "松开即可识别这些图片",
    choose: "选择图片",
    camera: "拍照",
    limits: "每张不超过 {mb} MB 和 {pixels}像素；数量不限。",
    privacy: "图片只发送到这台服务器，不会被保存。",
    results: "结果",
    preview: "{name} 的预览",
    no_preview: "无法预览",
    waiting: "等待中",
    sending: "正在识别……",
    sure_is: "各类别的概率",
    rest: "其余 {n} 个类别",
    favoured: "“{name}”不容漏掉：即使别的类别更可能，也回答它。",
    cheapest: "按这个模型的代价表，回答“{name}”的预期代价最低。",
    ask: "请人来看",
    ask_is: "按这个模型的代价表，它自己作任何回答的代价都更高。",
    unknown: "未知",
    unknown_is: "它和训练用的图片都不像：可能不属于任何一个类别。",
    heat: "它在看哪里？",
    heat_hide: "隐藏热图",
    heat_busy: "正在计算……",
    heat_alt: "模型看到的 {name}：暖色处是判断“{class}”时所看的地方",
    heat_is: "暖色：在模型看到的部分里，最支持“{class}”的地方。",
    heat_none: "无法显示模型在看哪里：这台服务器没有安装 PyTorch 或 matplotlib。",
    progress: "{n} 张图片中已完成 {done} 张",
    busy: "服务器正忙：{n} 秒后重试。",
    live_one: "{name}：{what}",
    live_many: "又完成了 {n} 张图片。",
    added: "添加了 {n} 张图片。",
    passed_over: "文件夹中有 {n} 个文件不是图片：已跳过。",
    no_files: "其中没有图片。",
    cancel: "取消",
    cancelled: "已取消。",
    again: "重试 {n} 张图片",
    csv: "下载 CSV",
    clear: "清除",
    cleared: "结果已全部清除。",
    close: "关闭",
    status_answer: "没有结果",
    "status_empty": "文件是空的",
    "status_lfs-pointer": "这只是指向图片的指针（Git LFS）",
    "status_not-an-image": "这不是图片",
    status_truncated: "图片已损坏",
    "status_too-large": "图片太大",
    "status_too-small": "图片太小",
    status_unsupported: "不支持这种图片",
    status_missing: "文件已不在原处",
    status_forbidden: "浏览器无法读取该文件",
    status_failed: "服务器没有给出结果",
    "status_not-sent": "未发送",
    too_many_bytes: "{mb} MB，而服务器最多接受 {limit} MB。",
    too_many_pixels: "{width} × {height} 像素，而服务器最多接受 {limit}像素。",
    not_readable: "它后来被移动、改动或删除，或者是一个文件夹。",
    unreachable: "服务器没有响应。它还在运行吗？",
    token_needed: "服务器需要令牌才会识别图片。",
    token_enter: "输入令牌",
    token_title: "请输入令牌",
    token_why: "令牌由运行这台服务器的人提供。关闭或刷新本页后即被忘记。",
    token_wrong: "服务器不接受这个令牌。",
    token_label: "令牌",
    token_use: "继续",
    retry: "重试",
    camera_title: "拍照",
    camera_live: "相机画面",
    camera_starting: "正在启动相机……",
    camera_ready: "可以拍照了。",
    camera_none: "没有找到相机。",
    camera_forbidden: "浏览器不能使用相机。请在网址旁边允许使用，然后重试。",
    camera_failed: "无法使用相机：可能正被别的程序占用。",
    camera_insecure: "浏览器只允许 localhost 或 https 的网页使用相机。请改为选择文件。",
    camera_taken: "已拍 {n} 张照片。",
    shoot: "拍下",
    about: "关于本模型",
    about_classes: "类别",
    about_architecture: "网络结构",
    about_licence: "权重的许可证",
    about_notice: "声明",
    about_unknown: "其他事物的图片",
    about_unknown_yes: "会标为未知",
    about_unknown_no: "本模型认不出来：无论给它看什么，它都会回答某个类别",
    about_heat: "热图",
    about_heat_yes: "每张图片都可以按需显示",
    about_limits: "限制",
    about_limits_are: "每个文件 {mb} MB，每张图片 {pixels}像素（普通 JPEG 为 {jpeg}像素）",
    about_version: "headstart",
    about_programs: "供程序使用",
    about_nothing: "未说明",
  },
};

const KEPT = "headstart-language";

let language = "en";

/** The language that was chosen before, else the browser's, else English. */
export function startLanguage() {
  let kept = null;
  try {
    kept = localStorage.getItem(KEPT);
  } catch { /* storage is forbidden: then it is not remembered */ }
  const wanted = [kept, ...navigator.languages.map(name => name.slice(0, 2).toLowerCase())];
  language = wanted.find(name => name !== null && Object.hasOwn(WORDS, name)) ?? "en";
  return language;
}

/** Speaks another language from now on. */
export function chooseLanguage(name) {
  language = name;
  try {
    localStorage.setItem(KEPT, name);
  } catch { /* as above */ }
}

export function currentLanguage() {
  return language;
}

export function knows(key) {
  return Object.hasOwn(WORDS[language], key);
}

/** The words of a key, with values for what stands in braces. */
export function say(key, values = {}) {
  const found = WORDS[language][key];
  if (found === undefined) throw new Error(`no words for ${key}`);
  const text = Array.isArray(found) ? found[values.n === 1 ? 0 : 1] : found;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** A number of pixels, in the units of the language: 200 million, 2 亿. */
export function millions(pixels) {
  const n = Math.floor(pixels / 1e6);
  if (language !== "zh") return `${n} million`;
  return n >= 100 ? `${n / 100} 亿` : `${100 * n} 万`;
}

/** A probability as a percentage. Only certainty is 100 %, only impossibility 0 %. */
export function percent(p) {
  const unit = language === "zh" ? "%" : " %";
  if (p < 1 && p >= 0.9995) return `>99.9${unit}`;
  if (p > 0 && p < 0.0005) return `<0.1${unit}`;
  return `${(100 * p).toFixed(1)}${unit}`;
}
