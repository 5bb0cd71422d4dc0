"use strict";

(() => {
  document.documentElement.classList.add("js");
  setUpParts();
  const data = document.querySelector("#pixels");
  if (!data) return;
  const embedded = JSON.parse(data.textContent);
  const page = new Page(embeddedSource(embedded), embedded.features);
  setUpStretch(page);
  setUpLayers(page);
  setUpPrint(page);
})();
