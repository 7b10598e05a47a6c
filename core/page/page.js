// Copy buttons, tables that sort, and closed parts that open for printing (long ones only by hand); all is there without.
for (const box of document.querySelectorAll("[data-copy]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy ${box.dataset.copy}`);
  button.onclick = () => {
    const done = () => { button.textContent = "Copied"; };
    const byHand = () => { getSelection().selectAllChildren(box); document.execCommand("copy") && done(); };
    navigator.clipboard ? navigator.clipboard.writeText(box.textContent).then(done, byHand) : byHand();
  };
  box.after(button);
}

// A cell counts by its data-value, else by the number that it begins with, else by its text.
function sortKey(row, column) {
  const cell = row.cells[column], text = cell.dataset.value ?? cell.textContent.trim();
  const number = parseFloat(text.replace("−", "-"));
  return Number.isNaN(number) ? text : number;
}

function sortBy(table, header) {
  const order = header.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
  const sign = order === "ascending" ? 1 : -1, column = header.cellIndex, body = table.tBodies[0];
  const compared = (one, other) => {
    const [a, b] = [sortKey(one, column), sortKey(other, column)];
    if (a === "" || b === "") return (a === "") - (b === ""); // empty cells stay last
    return sign * (typeof a === typeof b && typeof a === "number" ? a - b : String(a).localeCompare(String(b)));
  };
  body.append(...[...body.rows].sort(compared));
  for (const other of header.parentNode.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
}

for (const table of document.querySelectorAll("table[data-sort]"))
  for (const header of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.onclick = () => sortBy(table, header);
    header.append(button);
  }

let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open]):not([data-long])")];
  for (const part of opened) part.open = true;
});
addEventListener("afterprint", () => { for (const part of opened) part.open = false; });
