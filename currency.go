package seckill

import (
	"fmt"
	"strconv"
	"strings"
)

// currencies are the currencies of ISO 4217 that are legal tender, and the digits
// after the point that each has. They stand here because the locale data that
// libraries and browsers bring give other digits for two dozen of them (IDR, MMK,
// TZS, …). The pages have the same table in i18n.js.
var currencies = map[int]string{
	0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
	2: `AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP
		CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES
		KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK
		NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB
		TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG`,
	3: "BHD IQD JOD KWD LYD OMR TND",
}

var digitsByCurrency = func() map[string]int {
	all := map[string]int{}
	for digits, codes := range currencies {
		for code := range strings.FieldsSeq(codes) {
			all[code] = digits
		}
	}
	return all
}()

// currencyDigits returns how many digits the currency has after the point, by
// ISO 4217: 2 for CNY, 0 for JPY, 3 for KWD. ok is false for a code that is no
// currency of today.
func currencyDigits(code string) (digits int, ok bool) {
	digits, ok = digitsByCurrency[code]
	return digits, ok
}

// FormatDecimal writes an amount of minor units with the digits of its currency and without
// its code, as a column of an export: "99.00", "9900", "-0.005".
func FormatDecimal(minor int64, currency string) string {
	amount, _, _ := strings.Cut(FormatMoney(minor, currency), " ")
	return amount
}

// FormatMoney writes an amount of minor units with the digits of its currency,
// as commands, exports and logs show it: "99.00 CNY", "9900 JPY", "-0.005 KWD".
// An amount in what is no currency stays in minor units, and says so.
func FormatMoney(minor int64, currency string) string {
	digits, ok := currencyDigits(currency)
	if !ok {
		return fmt.Sprintf("%d minor units of %s", minor, currency)
	}
	sign, text := "", strconv.FormatInt(minor, 10)
	if minor < 0 {
		sign, text = "-", text[1:]
	}
	if digits > 0 {
		text = strings.Repeat("0", max(0, digits+1-len(text))) + text
		text = text[:len(text)-digits] + "." + text[len(text)-digits:]
	}
	return sign + text + " " + currency
}
