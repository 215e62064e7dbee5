//! What a person scans or types to link a phone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fast_qr::{ECL, QRBuilder};

use crate::chance::Chance;

/// Pixels per module, as in the product.
const SCALE: usize = 4;

/// Modules of white around the code, as in the product.
const MARGIN: usize = 3;

/// One code of a link that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkCode {
    /// What the QR code says.
    pub(crate) code: String,
    /// Eight characters to type instead, if the link was asked for with a number.
    pub(crate) pairing_code: Option<String>,
}

impl LinkCode {
    /// A fresh code.
    pub(crate) fn draw(chance: &mut Chance, with_pairing_code: bool) -> Self {
        let mut part = || STANDARD.encode(chance.bytes::<32>());
        let code = format!("2@{},{},{}", part(), part(), part());
        let pairing_code = with_pairing_code.then(|| {
            // The alphabet of the product's codes: Crockford's, without letters that look like digits.
            const ALPHABET: &[u8; 32] = b"123456789ABCDEFGHJKLMNPQRSTVWXYZ";
            chance.bytes::<8>().iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
        });
        LinkCode { code, pairing_code }
    }

    /// The QR code as a picture in a `data:` address; empty if the code cannot be drawn.
    pub(crate) fn picture(&self) -> String {
        match draw_png(&self.code) {
            Some(png) => format!("data:image/png;base64,{}", STANDARD.encode(png)),
            None => String::new(),
        }
    }
}

fn draw_png(text: &str) -> Option<Vec<u8>> {
    let code = QRBuilder::new(text).ecl(ECL::M).build().ok()?;
    let side = (code.size + 2 * MARGIN) * SCALE;
    let dark = |pixel: usize| {
        let module = |at: usize| (at / SCALE).checked_sub(MARGIN).filter(|at| *at < code.size);
        match (module(pixel / side), module(pixel % side)) {
            (Some(row), Some(column)) => code[row][column].value(),
            _ => false,
        }
    };
    let pixels: Vec<u8> = (0..side * side).map(|pixel| if dark(pixel) { 0 } else { 255 }).collect();
    let mut bytes = Vec::new();
    let width = u32::try_from(side).ok()?;
    let mut encoder = png::Encoder::new(&mut bytes, width, width);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().ok()?;
    writer.write_image_data(&pixels).ok()?;
    writer.finish().ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_a_picture_of_its_own() {
        let mut chance = Chance::new(1, &["qr"]);
        let (first, second) = (LinkCode::draw(&mut chance, true), LinkCode::draw(&mut chance, false));
        assert_ne!(first.code, second.code);
        assert_eq!(first.pairing_code.as_deref().map(str::len), Some(8));
        assert_eq!(second.pairing_code, None);
        let picture = first.picture();
        let png = STANDARD.decode(picture.strip_prefix("data:image/png;base64,").unwrap()).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        let info = reader.info();
        assert!(info.width == info.height && info.width > 100);
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        // White margin, then the dark corner of the finder pattern.
        assert_eq!((pixels[0], pixels[(MARGIN * SCALE) * reader.info().width as usize + MARGIN * SCALE]), (255, 0));
    }
}
