// How many digits a currency has after the point, by ISO 4217. The browser's own
// data give other digits for two dozen currencies. The table is that of
// currency.go, and a test there holds the two together.
const codes = {
  0: 'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF',
  3: 'BHD IQD JOD KWD LYD OMR TND',
};

export function digits(currency) {
  for (const [n, list] of Object.entries(codes)) {
    if (list.split(' ').includes(currency)) return Number(n);
  }
  return 2;
}
