package access

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/rand/v2"
	"strconv"

	"github.com/dchest/captcha"
)

// The picture's size in pixels. Numbers are drawn by dchest/captcha: its digits run
// into each other and bend, and are struck through, which steambap/captcha's are not
// (each of its characters has a colour of its own and stands alone).
const (
	pictureWidth  = 260
	pictureHeight = 96
	signWidth     = 34
)

// soundDigits is how many digits the sound says.
const soundDigits = 4

// The answers of formulas. Each is as likely as any other: one in 881.
const (
	answerLeast = 110
	answerMost  = 990
)

// formula returns a formula that people solve in their heads, as left, sign and right,
// and its answer. The answer is drawn first: products of two digits, say, are so few
// that the most frequent one is worth a guess.
func formula() (left int, sign byte, right, answer int) {
	answer, right = answerLeast+rand.IntN(answerMost-answerLeast+1), 2+rand.IntN(8)
	if rand.IntN(2) == 0 {
		return answer - right, '+', right, answer
	}
	return answer + right, '-', right, answer
}

// drawFormula returns the formula as a PNG: dark on white, to be shown on a white ground in
// either theme.
func drawFormula(left int, sign byte, right int) []byte {
	canvas := image.NewPaletted(image.Rect(0, 0, pictureWidth, pictureHeight), color.Palette{
		color.White, color.RGBA{30 + uint8(rand.IntN(60)), 30 + uint8(rand.IntN(60)), 60 + uint8(rand.IntN(80)), 255},
	})
	digits := func(n int) (d []byte) {
		for _, c := range strconv.Itoa(n) {
			d = append(d, byte(c-'0'))
		}
		return d
	}
	l, r := digits(left), digits(right)
	room := pictureWidth - signWidth
	width := room * (len(l) + 1) / (len(l) + len(r) + 2)
	paste(canvas, l, 0, width)
	drawSign(canvas, sign, width+signWidth/2, pictureHeight/2+rand.IntN(11)-5)
	paste(canvas, r, width+signWidth, room-width)
	bent := bend(canvas)
	var b bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestSpeed}).Encode(&b, bent); err != nil {
		panic(err) // it cannot happen: writing to a buffer does not fail
	}
	return b.Bytes()
}

// paste draws digits into a strip of the canvas, in the canvas's one colour.
func paste(canvas *image.Paletted, digits []byte, x, width int) {
	number := captcha.NewImage(strconv.FormatUint(rand.Uint64(), 36), digits, width, pictureHeight)
	for py := range pictureHeight {
		for px := range width {
			if number.Pix[py*number.Stride+px] != 0 {
				// A pixel more to the right and below: the dots that the library draws are too fine to read.
				canvas.SetColorIndex(x+px, py, 1)
				canvas.SetColorIndex(x+px+1, py, 1)
				canvas.SetColorIndex(x+px, py+1, 1)
			}
		}
	}
}

// drawSign draws + or - out of dots, as the digits are.
func drawSign(canvas *image.Paletted, sign byte, x, y int) {
	const arm, dot = 12, 2
	stroke := func(dx, dy float64) {
		for i := -arm; i <= arm; i++ {
			cx, cy := x+int(float64(i)*dx), y+int(float64(i)*dy)
			for py := -dot; py <= dot; py++ {
				for px := -dot; px <= dot; px++ {
					if px*px+py*py <= dot*dot && rand.IntN(10) > 0 {
						canvas.SetColorIndex(cx+px, cy+py, 1)
					}
				}
			}
		}
	}
	tilt := (rand.Float64() - 0.5) / 2
	stroke(1, tilt)
	if sign == '+' {
		stroke(-tilt, 1)
	}
}

// bend moves the picture's columns and rows along waves.
func bend(from *image.Paletted) *image.Paletted {
	to := image.NewPaletted(from.Rect, from.Palette)
	high, long, shift := 1+rand.Float64(), 60+40*rand.Float64(), 6*rand.Float64()
	wave := func(at int) int { return int(high * math.Sin(shift+2*math.Pi*float64(at)/long)) }
	var down [pictureWidth]int
	for x := range down {
		down[x] = wave(x)
	}
	for y := range pictureHeight {
		right := wave(y)
		for x := range pictureWidth {
			sx, sy := x+right, y+down[x]
			if sx >= 0 && sx < pictureWidth && sy >= 0 && sy < pictureHeight {
				to.Pix[y*to.Stride+x] = from.Pix[sy*from.Stride+sx]
			}
		}
	}
	return to
}

// speak returns digits as a WAV in a language, zh or en, and what they are as text.
func speak(lang string) (wav []byte, answer string) {
	digits := make([]byte, soundDigits)
	for i := range digits {
		digits[i] = byte(rand.IntN(10))
		answer += strconv.Itoa(int(digits[i]))
	}
	var b bytes.Buffer
	captcha.NewAudio(strconv.FormatUint(rand.Uint64(), 36), digits, lang).WriteTo(&b)
	return b.Bytes(), answer
}

func dataURL(kind string, b []byte) string {
	return "data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(b)
}
