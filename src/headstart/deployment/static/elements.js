/** Elements of the page. Text goes in as text: names of files and classes are other people's. */

export const byId = id => document.getElementById(id);

/** An element with properties (`aria-*` and `data-*`: attributes) and children. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "lang") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter(child => child !== null));
  return made;
}

export function button(text, onclick, properties = {}) {
  return element("button", { type: "button", textContent: text, onclick, ...properties });
}
