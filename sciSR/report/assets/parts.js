/* What a page has besides pictures: the theme, texts to copy, tables to filter and to sort. */
"use strict";

function setUpTheme() {
  const button = document.querySelector("#theme"), root = document.documentElement;
  if (!button) return;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const tell = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Show the page ${isDark() ? "light" : "dark"}`);
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    tell();
  });
  system.addEventListener("change", tell);
  tell();
}

/* A page opened from a disk may have no clipboard: the old way works there. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch (error) {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "off-screen";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

function setUpCopy() {
  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    const label = button.textContent;
    button.addEventListener("click", async () => {
      const done = await copyText(document.getElementById(button.dataset.copy).textContent);
      button.textContent = done ? "Copied" : "Select and copy by hand";
      setTimeout(() => { button.textContent = label; }, 2000);
    });
  }
}

function setUpFilters() {
  for (const input of document.querySelectorAll("input[data-filter]")) {
    const table = document.getElementById(input.dataset.filter);
    const fate = document.querySelector(`select[data-filter="${input.dataset.filter}"]`);
    const said = document.querySelector(`output[data-filter="${input.dataset.filter}"]`);
    const rows = [...table.tBodies[0].rows];
    const apply = () => {
      const words = input.value.trim().toLowerCase(), only = fate ? fate.value : "";
      let shown = 0;
      for (const row of rows) {
        row.hidden = !row.textContent.toLowerCase().includes(words) || (only !== "" && row.dataset.fate !== only);
        shown += !row.hidden;
      }
      if (said) said.textContent = `${shown} of ${rows.length}`;
    };
    for (const each of [input, fate]) if (each) each.addEventListener("input", apply);
    apply();
  }
}

function setUpSorting() {
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
        const order = (a, b) => {
          const [p, q] = [key(a), key(b)], [x, y] = [Number(p), Number(q)];
          if (p === "" || q === "") return (p === "") - (q === ""); // what is not known comes last, up or down
          const found = Number.isNaN(x) || Number.isNaN(y) ? p.localeCompare(q) : x - y;
          return up ? found : -found;
        };
        const body = table.tBodies[0];
        body.append(...[...body.rows].sort(order));
      });
    });
  }
}

function setUpParts() {
  setUpTheme();
  setUpCopy();
  setUpFilters();
  setUpSorting();
}
