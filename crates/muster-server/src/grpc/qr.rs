//! QR codes as pictures.

use fast_qr::qr::QRBuilder;

/// Pixels of one module: large enough for a phone to read from a screen, whatever scales the picture.
const MODULE_PIXELS: usize = 8;

/// White modules around the code, as the standard asks for.
const QUIET_MODULES: usize = 4;

/// A QR code as a black and white PNG; `None` if the text does not fit one.
pub(crate) fn png(text: &str) -> Option<Vec<u8>> {
    let code = QRBuilder::new(text).build().ok()?;
    let modules = code.size + 2 * QUIET_MODULES;
    let side = modules * MODULE_PIXELS;
    let stride = side.div_ceil(8);
    let mut pixels = vec![0xff_u8; stride * side];
    for y in 0..code.size {
        for x in 0..code.size {
            if code[y][x].value() {
                fill(&mut pixels, stride, x + QUIET_MODULES, y + QUIET_MODULES);
            }
        }
    }
    let mut picture = Vec::new();
    let mut encoder = png::Encoder::new(&mut picture, u32::try_from(side).ok()?, u32::try_from(side).ok()?);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    encoder.write_header().ok()?.write_image_data(&pixels).ok()?;
    Some(picture)
}

/// Blackens one module.
fn fill(pixels: &mut [u8], stride: usize, column: usize, row: usize) {
    for y in row * MODULE_PIXELS..(row + 1) * MODULE_PIXELS {
        for x in column * MODULE_PIXELS..(column + 1) * MODULE_PIXELS {
            pixels[y * stride + x / 8] &= !(0x80 >> (x % 8));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_shows_the_code_within_its_quiet_zone() {
        let text = "2@abcdefghijklmnopqrstuvwxyz0123456789,abcdefghijklmnopqrstuvwxyz==";
        let code = QRBuilder::new(text).build().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(png(text).unwrap())).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!(info.width as usize, (code.size + 2 * QUIET_MODULES) * MODULE_PIXELS);
        let stride = (info.width as usize).div_ceil(8);
        let black = |column: usize, row: usize| {
            let (x, y) = (column * MODULE_PIXELS + MODULE_PIXELS / 2, row * MODULE_PIXELS + MODULE_PIXELS / 2);
            pixels[y * stride + x / 8] & (0x80 >> (x % 8)) == 0
        };
        for y in 0..code.size {
            for x in 0..code.size {
                assert_eq!(black(x + QUIET_MODULES, y + QUIET_MODULES), code[y][x].value());
            }
        }
        assert!((0..code.size + 2 * QUIET_MODULES).all(|i| !black(i, 0) && !black(0, i)));
    }

    #[test]
    fn a_text_that_fits_no_code_gives_no_picture() {
        assert_eq!(png(&"x".repeat(5_000)), None);
    }
}
