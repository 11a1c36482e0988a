//! Messages with descriptors over Unix sockets.

use core::mem::MaybeUninit;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType, recvmsg, sendmsg, shutdown, socketpair,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{BorrowedFd, OwnedFd};

/// Descriptors in one message. The kernel takes 253; older ones on the way and their limits take fewer.
pub(crate) const DESCRIPTORS_MAX: usize = 64;

/// Two ends that keep the borders of messages. Both are closed by exec.
pub(crate) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message (at least one byte) with at most [`DESCRIPTORS_MAX`] descriptors. `wait` false: a full
/// socket is `WouldBlock`.
pub(crate) fn send_message(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    wait: bool,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = if wait { SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL | SendFlags::DONTWAIT };
    Ok(retry_on_intr(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags))?)
}

/// Receives one message into `bytes`, its descriptors at the end of `fds`. Zero: the other end is closed.
pub(crate) fn receive_message(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    wait: bool,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = if wait { RecvFlags::CMSG_CLOEXEC } else { RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT };
    let message = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, flags) {
            // Said once, when the other end was closed with messages unread; what it sent before is still here.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            other => break other?,
        }
    };
    for received in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = received {
            fds.extend(received);
        }
    }
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Errno::MFILE.into()); // the kernel drops what finds no place in our table
    }
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is longer than any we send"));
    }
    Ok(message.bytes)
}

/// Says that nothing more will be sent; the other direction goes on.
pub(crate) fn end_of_sending(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(shutdown(socket, Shutdown::Write)?)
}

/// Sends bytes (at least one) and at most [`DESCRIPTORS_MAX`] descriptors over a connected socket of any kind.
pub(crate) fn send_descriptors(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut sent = send_message(socket, bytes, fds, true)?;
    while let Some(unsent) = bytes.get(sent..).filter(|unsent| !unsent.is_empty()) {
        sent += send_message(socket, unsent, &[], true)?;
    }
    Ok(())
}

/// Receives `len` bytes, or fewer when the other end is closed, and the descriptors that came with them.
pub(crate) fn receive_descriptors(socket: BorrowedFd<'_>, len: usize) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let (mut bytes, mut fds, mut received) = (vec![0; len], Vec::new(), 0);
    while received < len {
        match receive_message(socket, &mut bytes[received..], &mut fds, true)? {
            0 => break,
            more => received += more,
        }
    }
    bytes.truncate(received);
    Ok((bytes, fds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn descriptors_and_borders_of_messages_survive_a_socket() {
        let (a, b) = socket_pair().unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        send_message(a.as_fd(), b"one", &[reader.as_fd(); DESCRIPTORS_MAX], true).unwrap();
        send_message(a.as_fd(), b"two", &[], true).unwrap();
        let (mut bytes, mut fds) = ([0; 16], Vec::new());
        assert_eq!(receive_message(b.as_fd(), &mut bytes, &mut fds, true).unwrap(), 3);
        assert_eq!(fds.len(), DESCRIPTORS_MAX);
        io::Write::write_all(&mut writer, b"hello").unwrap();
        let mut heard = [0; 5];
        io::Read::read_exact(&mut io::PipeReader::from(fds.pop().unwrap()), &mut heard).unwrap();
        assert_eq!(&heard, b"hello");
        assert_eq!(receive_message(b.as_fd(), &mut bytes, &mut fds, true).unwrap(), 3);
        drop(a);
        assert_eq!(receive_message(b.as_fd(), &mut bytes, &mut fds, true).unwrap(), 0);
    }
}
