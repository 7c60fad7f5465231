//! `frames FILE INTERFACE`: sends the frames of a file out of an interface, each after its length in two bytes,
//! little-endian.

use std::env::args_os;
use std::error::Error;
use std::fs;

use lb_lab::FrameSender;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = args_os().skip(1);
    let (Some(file), Some(interface), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: frames FILE INTERFACE".into());
    };
    let bytes = fs::read(file)?;
    let sender = FrameSender::here(&interface.to_string_lossy())?;
    let mut rest = bytes.as_slice();
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length));
        let (frame, behind) = behind.split_at_checked(length).ok_or("the file ends within a frame")?;
        sender.send(frame)?;
        rest = behind;
    }
    Ok(())
}
