//! The gateway's events and their names.

/// An event that the simulator emits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    QrcodeUpdated,
    ConnectionUpdate,
    StatusInstance,
    LogoutInstance,
    InstanceCreate,
    InstanceDelete,
    RemoveInstance,
    SendMessage,
    MessagesUpsert,
    MessagesUpdate,
}

impl Event {
    /// The name in payloads.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Event::QrcodeUpdated => "qrcode.updated",
            Event::ConnectionUpdate => "connection.update",
            Event::StatusInstance => "status.instance",
            Event::LogoutInstance => "logout.instance",
            Event::InstanceCreate => "instance.create",
            Event::InstanceDelete => "instance.delete",
            Event::RemoveInstance => "remove.instance",
            Event::SendMessage => "send.message",
            Event::MessagesUpsert => "messages.upsert",
            Event::MessagesUpdate => "messages.update",
        }
    }

    /// The name in subscriptions.
    pub(crate) fn subscription(self) -> &'static str {
        match self {
            Event::QrcodeUpdated => "QRCODE_UPDATED",
            Event::ConnectionUpdate => "CONNECTION_UPDATE",
            Event::StatusInstance => "STATUS_INSTANCE",
            Event::LogoutInstance => "LOGOUT_INSTANCE",
            Event::InstanceCreate => "INSTANCE_CREATE",
            Event::InstanceDelete => "INSTANCE_DELETE",
            Event::RemoveInstance => "REMOVE_INSTANCE",
            Event::SendMessage => "SEND_MESSAGE",
            Event::MessagesUpsert => "MESSAGES_UPSERT",
            Event::MessagesUpdate => "MESSAGES_UPDATE",
        }
    }

    /// The part that `byEvents` appends to the address.
    pub(crate) fn path(self) -> String {
        self.name().replace('.', "-")
    }
}

/// Every event that can be subscribed to, emitted here or not.
pub(crate) const SUBSCRIPTIONS: [&str; 31] = [
    "APPLICATION_STARTUP",
    "INSTANCE_CREATE",
    "INSTANCE_DELETE",
    "STATUS_INSTANCE",
    "QRCODE_UPDATED",
    "CONNECTION_UPDATE",
    "LOGOUT_INSTANCE",
    "REMOVE_INSTANCE",
    "MESSAGES_SET",
    "MESSAGES_UPSERT",
    "MESSAGES_EDITED",
    "MESSAGES_UPDATE",
    "MESSAGES_DELETE",
    "SEND_MESSAGE",
    "SEND_MESSAGE_UPDATE",
    "CONTACTS_SET",
    "CONTACTS_UPSERT",
    "CONTACTS_UPDATE",
    "PRESENCE_UPDATE",
    "CHATS_SET",
    "CHATS_UPSERT",
    "CHATS_UPDATE",
    "CHATS_DELETE",
    "GROUPS_UPSERT",
    "GROUP_UPDATE",
    "GROUP_PARTICIPANTS_UPDATE",
    "LABELS_EDIT",
    "LABELS_ASSOCIATION",
    "CALL",
    "TYPEBOT_START",
    "TYPEBOT_CHANGE_STATUS",
];
