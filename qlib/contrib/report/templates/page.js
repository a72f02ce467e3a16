"use strict";
// What the pointer or the arrow keys read out of a chart. The drawings themselves need no script.
(function () {
  const root = document.documentElement;
  const failures = [];
  function failed(what) {
    failures.push(String(what));
    root.dataset.errors = failures.join(" | ");
  }
  window.addEventListener("error", (event) => failed(event.message));
  window.addEventListener("unhandledrejection", (event) => failed(event.reason));
  document.addEventListener("securitypolicyviolation", (event) => failed(event.violatedDirective));

  const spoken = document.getElementById("spoken");

  function nearest(places, x) {
    let low = 0, high = places.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (places[middle] < x) low = middle; else high = middle;
    }
    return x - places[low] <= places[high] - x ? low : high;
  }

  function element(tag, name, text) {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function equip(figure) {
    const data = JSON.parse(figure.querySelector("script.hover").textContent);
    if (!data.places.length) return;
    for (const plot of figure.querySelectorAll(".plot")) {
      const box = plot.querySelector(".box");
      const cursor = element("div", "cursor"), tip = element("div", "tip");
      cursor.hidden = tip.hidden = true;
      box.append(cursor, tip);
      let at = -1;

      const hide = () => { cursor.hidden = tip.hidden = true; at = -1; };
      const go = (k, aloud) => {
        if (k === at) return;
        at = k;
        const percent = data.places[k] / 10;
        cursor.style.left = percent + "%";
        tip.replaceChildren(element("b", "", data.heads[k]));
        for (const line of data.readouts) {
          const row = element("div", "row");
          row.append(element("span", "", line.name), element("span", "number", line.texts[k]));
          tip.append(row);
        }
        cursor.hidden = tip.hidden = false;
        const room = box.clientWidth, wide = tip.offsetWidth, x = (percent / 100) * room;
        tip.style.left = Math.max(0, Math.min(room - wide, x > room / 2 ? x - wide - 12 : x + 12)) + "px";
        if (aloud) {
          spoken.textContent =
            data.heads[k] + ": " + data.readouts.map((line) => line.name + " " + line.texts[k]).join(", ");
        }
      };

      plot.addEventListener("pointermove", (event) => {
        const frame = box.getBoundingClientRect();
        const x = ((event.clientX - frame.left) / frame.width) * 1000;
        if (x < -30 || x > 1030) hide(); else go(nearest(data.places, x), false);
      });
      plot.addEventListener("pointerleave", hide);
      plot.addEventListener("blur", hide);
      plot.addEventListener("keydown", (event) => {
        const last = data.places.length - 1, leap = Math.max(1, Math.round(last / 10));
        const step = { ArrowRight: 1, ArrowLeft: -1, PageDown: leap, PageUp: -leap }[event.key];
        let to;
        if (step) to = at < 0 ? (step > 0 ? 0 : last) : Math.max(0, Math.min(last, at + step));
        else if (event.key === "Home") to = 0;
        else if (event.key === "End") to = last;
        else if (event.key === "Escape") return hide();
        else return;
        event.preventDefault();
        go(to, true);
      });
    }
  }

  // The table of fills: chosen by instrument, in one of two orders, a page at a time.
  function turnPages(card) {
    const data = JSON.parse(document.getElementById("fills-cells").textContent);
    const table = card.querySelector("table.fills"), body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
    const of = document.getElementById("fills-of"), by = document.getElementById("fills-by");
    const back = document.getElementById("fills-back"), on = document.getElementById("fills-on");
    const where = document.getElementById("fills-where");
    const names = data.texts[data.keys.indexOf("instrument")];
    const number = (count) => count.toLocaleString("en-US");
    let rows = names.map((_, k) => k), first = 0;

    function choose() {
      const name = of.value;
      rows = by.value === "largest" ? data.largest : names.map((_, k) => k);
      if (name) rows = rows.filter((k) => names[k] === name);
      go(0);
    }

    function go(to) {
      first = Math.max(0, Math.min(to, Math.floor((rows.length - 1) / data.atOnce) * data.atOnce));
      const shown = rows.slice(first, first + data.atOnce);
      body.replaceChildren(...shown.map((k) => {
        const row = element("tr", "");
        row.setAttribute("role", "row");
        data.keys.forEach((key, c) => {
          const text = data.texts[c][k], cell = element("td", "", text);
          cell.setAttribute("role", "cell");
          cell.dataset.head = heads[c];
          if (table.tHead.rows[0].cells[c].className) cell.className = "word " + key + (key === "side" ? " " + text : "");
          row.append(cell);
        });
        return row;
      }));
      const all = of.value ? Number(of.selectedOptions[0].dataset.count) : rows.length;
      const listed = all > rows.length ? " listed here (" + number(all) + " in all)" : "";
      where.textContent = rows.length
        ? number(first + 1) + " to " + number(first + shown.length) + " of " + number(rows.length) + listed + ", " +
          by.selectedOptions[0].textContent
        : "none of its " + number(all) + " fills is listed here";
      back.disabled = first === 0;
      on.disabled = first + data.atOnce >= rows.length;
    }

    of.addEventListener("change", choose);
    by.addEventListener("change", choose);
    back.addEventListener("click", () => go(first - data.atOnce));
    on.addEventListener("click", () => go(first + data.atOnce));
    card.querySelectorAll(".pager [hidden]").forEach((control) => { control.hidden = false; });
    choose();
  }

  document.querySelectorAll("figure.chart").forEach(equip);
  document.querySelectorAll("#fills").forEach(turnPages);
  // Paper shows what a closed fold would hide.
  window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((fold) => { fold.open = true; }));
  root.dataset.charts = String(document.querySelectorAll("figure.chart").length);
  root.dataset.errors = failures.join(" | ");
})();
