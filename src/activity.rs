//! Activities: what someone did, as facts that any sensor may see. An activity knows no log format.
//!
//! A [`Kind`] says what happened (`process.start`, `task.create`); a [`Field`] names one of its facts with the
//! name ECS 9 gives it, or one listed in `docs/activities.md` where ECS has none. A world makes activities; a
//! source reads them through [`View`], field by field, without knowing what a world is.

use std::fmt;

use crate::time::Time;

/// What a field holds, so that a formatter that cannot print it is refused at load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// Text without a type of its own.
    Text,
    /// An unsigned number; sources choose decimal or hexadecimal.
    Uint,
    /// A truth value.
    Bool,
    /// An instant.
    Time,
    /// A GUID.
    Guid,
    /// A machine part, a second and a 64-bit key: Sysmon builds its GUIDs from these.
    Entity,
    /// An IP address.
    Ip,
}

/// A sensor-made identity: Sysmon prints it as one GUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize)]
pub struct Entity {
    /// Part that is constant on a machine (from its machine GUID).
    pub machine: u32,
    /// Unix second of the start of the process or session.
    pub second: u32,
    /// Process: boot id << 48 | sequence number. Session: the LUID.
    pub key: u64,
}

/// The value of a field, borrowed from whoever holds the activity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// The activity has no such fact; sources print their product's placeholder.
    None,
    /// See [`Type::Text`].
    Text(&'a str),
    /// See [`Type::Uint`].
    Uint(u64),
    /// See [`Type::Bool`].
    Bool(bool),
    /// See [`Type::Time`].
    Time(Time),
    /// See [`Type::Guid`]; the sixteen bytes in printed order.
    Guid([u8; 16]),
    /// See [`Type::Entity`].
    Entity(Entity),
    /// See [`Type::Ip`].
    Ip(std::net::IpAddr),
}

/// Read access to one activity as one host's sensors see it.
pub trait View {
    /// What happened.
    fn kind(&self) -> Kind;
    /// The value of a field, [`Value::None`] where this activity has none.
    fn get(&self, field: Field) -> Value<'_>;
}

macro_rules! fields {
    ($($id:ident, $name:literal, $ty:ident, $doc:literal;)*) => {
        /// A fact an activity may carry.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[repr(u16)]
        pub enum Field { $(#[doc = $doc] $id,)* }

        impl Field {
            /// Every field, in the order of the documentation.
            pub const ALL: &'static [Field] = &[$(Field::$id,)*];
            /// ECS 9 name, or the name `docs/activities.md` gives.
            pub const fn name(self) -> &'static str { match self { $(Field::$id => $name,)* } }
            /// What it holds.
            pub const fn ty(self) -> Type { match self { $(Field::$id => Type::$ty,)* } }
            /// What it means.
            pub const fn doc(self) -> &'static str { match self { $(Field::$id => $doc,)* } }
            /// The field of that name.
            pub fn parse(name: &str) -> Option<Field> { match name { $($name => Some(Field::$id),)* _ => None } }
        }
    };
}

macro_rules! kinds {
    ($($id:ident, $name:literal, $doc:literal, [$($arg:literal => $field:ident $(?$opt:tt)?),*];)*) => {
        /// What happened: noun.verb.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[repr(u8)]
        pub enum Kind { $(#[doc = $doc] $id,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Kind] = &[$(Kind::$id,)*];
            /// Its name.
            pub const fn name(self) -> &'static str { match self { $(Kind::$id => $name,)* } }
            /// What it means.
            pub const fn doc(self) -> &'static str { match self { $(Kind::$id => $doc,)* } }
            /// The arguments an effect or a step may give it: short name, field. What is not given the world
            /// supplies where it can (process, user, session, host, ids, hashes).
            pub const fn args(self) -> &'static [(&'static str, Field)] {
                match self { $(Kind::$id => &[$(($arg, Field::$field)),*],)* }
            }
            /// Carried out by a service for whoever asked it: auditing names the client, not the service.
            pub const fn on_request(self) -> bool {
                matches!(
                    self,
                    Kind::TaskCreate | Kind::TaskUpdate | Kind::TaskDelete | Kind::TaskEnable | Kind::TaskDisable
                        | Kind::ServiceCreate | Kind::ServiceChange | Kind::AuditChange | Kind::LogClear
                        | Kind::AccountCreate | Kind::AccountChange | Kind::AccountDelete | Kind::AccountEnable
                        | Kind::AccountDisable | Kind::AccountUnlock | Kind::AccountRename | Kind::PasswordReset
                        | Kind::PasswordChange | Kind::GroupAdd | Kind::GroupRemove | Kind::GroupCreate
                        | Kind::GroupChange | Kind::GroupDelete | Kind::GroupEnumerate | Kind::UserEnumerate
                        | Kind::DirectoryAccess | Kind::DirectoryChange | Kind::DirectoryCreate | Kind::DirectoryDelete
                        | Kind::ShareCreate | Kind::ShareDelete | Kind::FirewallAdd | Kind::FirewallChange
                        | Kind::FirewallDelete
                )
            }
            /// The kind of that name.
            pub fn parse(name: &str) -> Option<Kind> { match name { $($name => Some(Kind::$id),)* _ => None } }
        }
    };
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

kinds! {
    ProcessStart, "process.start", "a process was started", [];
    ProcessEnd, "process.end", "a process ended", [];
    ProcessAccess, "process.access", "a process opened another", ["granted" => AccessGranted, "trace" => AccessCallTrace];
    ProcessInject, "process.inject", "a thread was made in another process", ["address" => InjectAddress, "module" => InjectModule, "function" => InjectFunction];
    ProcessTamper, "process.tamper", "the image of a process was replaced", ["type" => ObjectType];
    ImageLoad, "image.load", "a process loaded a module", ["image" => DllPath];
    DriverLoad, "driver.load", "the kernel loaded a driver", ["path" => DriverPath];
    FileCreate, "file.create", "a file was created or overwritten", ["path" => FilePath, "size" => FileSize, "url" => FileOriginUrl, "referrer" => FileOriginReferrer];
    FileModify, "file.modify", "a file was written", ["path" => FilePath, "size" => FileSize];
    FileDelete, "file.delete", "a file was deleted", ["path" => FilePath];
    FileRename, "file.rename", "a file was renamed or moved", ["from" => FileOldPath, "path" => FilePath];
    FileStream, "file.stream", "a named stream was written", ["path" => FilePath, "contents" => FileContents];
    FileTime, "file.time", "a creation time was set", ["path" => FilePath, "created" => FileCreated];
    FileRead, "file.read", "raw access to a volume", ["path" => FilePath];
    RegistryCreate, "registry.create", "a key was created", ["key" => RegistryKey];
    RegistrySet, "registry.set", "a value was set", ["key" => RegistryKey, "value" => RegistryValue, "type" => RegistryType, "data" => RegistryData];
    RegistryDelete, "registry.delete", "a key was deleted", ["key" => RegistryKey];
    RegistryDeleteValue, "registry.delete_value", "a value was deleted", ["key" => RegistryKey, "value" => RegistryValue];
    RegistryRename, "registry.rename", "a key or value was renamed", ["key" => RegistryKey, "to" => RegistryNewName];
    NetworkBind, "network.bind", "a local port was bound", ["port" => SourcePort, "transport" => NetworkTransport];
    NetworkListen, "network.listen", "a port was opened for connections", ["port" => SourcePort, "transport" => NetworkTransport];
    NetworkConnect, "network.connect", "this host opened a connection", ["host" => DestinationDomain, "ip" => DestinationIp, "port" => DestinationPort, "transport" => NetworkTransport];
    NetworkAccept, "network.accept", "this host accepted a connection", ["port" => DestinationPort, "transport" => NetworkTransport];
    NetworkBlock, "network.block", "the firewall refused an inbound connection", ["port" => DestinationPort, "transport" => NetworkTransport];
    NameResolve, "name.resolve", "a name was looked up", ["name" => DnsName, "status" => DnsStatus, "answers" => DnsAnswers];
    PipeCreate, "pipe.create", "a named pipe was created", ["name" => PipeName];
    PipeConnect, "pipe.connect", "a named pipe was opened", ["name" => PipeName];
    WmiFilter, "wmi.filter", "an event filter changed", ["operation" => WmiOperation, "namespace" => WmiNamespace, "name" => WmiName, "query" => WmiQuery];
    WmiConsumer, "wmi.consumer", "an event consumer changed", ["operation" => WmiOperation, "name" => WmiName, "type" => WmiType, "destination" => WmiDestination];
    WmiBinding, "wmi.binding", "a filter was bound to a consumer", ["operation" => WmiOperation, "consumer" => WmiConsumer, "filter" => WmiFilter];
    LogonStart, "logon.start", "an account logged on", [];
    LogonFail, "logon.fail", "an account failed to log on", [];
    LogonEnd, "logon.end", "a session ended", [];
    LogonPrivileges, "logon.privileges", "a new session has special privileges", [];
    LogonGroups, "logon.groups", "group membership of a new session", [];
    LogonExplicit, "logon.explicit", "explicit credentials were used", [];
    SessionLogoff, "session.logoff", "a user asked to be logged off", [];
    SessionLock, "session.lock", "a workstation was locked", [];
    SessionUnlock, "session.unlock", "a workstation was unlocked", [];
    SessionConnect, "session.connect", "a terminal session was connected again", [];
    SessionDisconnect, "session.disconnect", "a terminal session was disconnected", [];
    KerberosTgt, "kerberos.tgt", "a ticket-granting ticket was requested", [];
    KerberosService, "kerberos.service", "a service ticket was requested", [];
    KerberosFail, "kerberos.fail", "pre-authentication failed", [];
    NtlmValidate, "ntlm.validate", "a domain controller or host validated NTLM credentials", [];
    KerberosRenew, "kerberos.renew", "a ticket was renewed", [];
    ServiceCreate, "service.create", "a service was installed", ["name" => ServiceName, "path" => ServicePath, "type" => ServiceType, "start" => ServiceStart, "account" => ServiceAccount];
    ServiceState, "service.state", "a service entered a state", ["name" => ServiceName, "display" => ServiceDisplay, "state" => ServiceState];
    ServiceChange, "service.change", "a service's start type changed", ["name" => ServiceName, "display" => ServiceDisplay, "start" => ServiceStart, "old" => ServiceOldStart];
    TaskCreate, "task.create", "a scheduled task was registered", ["name" => TaskName, "content" => TaskContent, "command" => TaskCommand, "arguments" => TaskArguments, "trigger" => TaskTrigger, "as" => TaskPrincipal];
    TaskUpdate, "task.update", "a scheduled task was changed", ["name" => TaskName, "content" => TaskContent, "command" => TaskCommand];
    TaskDelete, "task.delete", "a scheduled task was deleted", ["name" => TaskName];
    TaskEnable, "task.enable", "a scheduled task was enabled", ["name" => TaskName, "content" => TaskContent];
    TaskDisable, "task.disable", "a scheduled task was disabled", ["name" => TaskName, "content" => TaskContent];
    TaskRun, "task.run", "a scheduled task was started", ["name" => TaskName, "command" => TaskCommand];
    TaskEnd, "task.end", "a run of a scheduled task ended", ["name" => TaskName, "command" => TaskCommand, "result" => TaskResult];
    HandleRequest, "handle.request", "a handle to an audited object was requested", ["type" => ObjectType, "name" => ObjectName, "mask" => AccessMask];
    ObjectAccess, "object.access", "an audited object was accessed through a handle", ["type" => ObjectType, "name" => ObjectName, "mask" => AccessMask];
    HandleClose, "handle.close", "a handle to an audited object was closed", [];
    HandleDuplicate, "handle.duplicate", "a handle was copied", [];
    ObjectDelete, "object.delete", "an audited object was deleted through a handle", [];
    ObjectPermissions, "object.permissions", "the security descriptor of an object changed", ["type" => ObjectType, "name" => ObjectName, "old" => ObjectOldSd, "new" => ObjectNewSd];
    ShareAccess, "share.access", "a network share was opened", ["name" => ShareName, "path" => SharePath];
    ShareCheck, "share.check", "a file of a share was checked for access", ["name" => ShareName, "path" => SharePath, "file" => ObjectRelative, "mask" => AccessMask];
    ShareCreate, "share.create", "a network share was added", ["name" => ShareName, "path" => SharePath];
    ShareDelete, "share.delete", "a network share was removed", ["name" => ShareName, "path" => SharePath];
    PrivilegeUse, "privilege.use", "a privileged service was called", ["service" => PrivilegeService, "privileges" => PrivilegeList];
    PrivilegeAdjust, "privilege.adjust", "a token's privileges were changed", ["enabled" => PrivilegeList];
    AccountCreate, "account.create", "an account was created", ["name" => TargetName];
    AccountChange, "account.change", "an account was changed", ["name" => TargetName, "old" => AccountOldUac, "new" => AccountUac, "flags" => AccountUacChanges];
    AccountDelete, "account.delete", "an account was deleted", ["name" => TargetName];
    AccountEnable, "account.enable", "an account was enabled", ["name" => TargetName];
    AccountDisable, "account.disable", "an account was disabled", ["name" => TargetName];
    AccountLockout, "account.lockout", "an account was locked out", ["name" => TargetName, "computer" => LogonWorkstation];
    AccountUnlock, "account.unlock", "an account was unlocked", ["name" => TargetName];
    AccountRename, "account.rename", "an account got another name", ["name" => TargetName, "to" => AccountNewName];
    PasswordReset, "password.reset", "a password was reset by another account", ["name" => TargetName];
    PasswordChange, "password.change", "an account changed its own password", ["name" => TargetName];
    GroupAdd, "group.member_add", "a member was added to a group", ["group" => GroupName, "scope" => GroupScope, "member" => MemberDn];
    GroupRemove, "group.member_remove", "a member was removed from a group", ["group" => GroupName, "scope" => GroupScope, "member" => MemberDn];
    GroupCreate, "group.create", "a group was created", ["group" => GroupName, "scope" => GroupScope];
    GroupChange, "group.change", "a group was changed", ["group" => GroupName, "scope" => GroupScope];
    GroupDelete, "group.delete", "a group was deleted", ["group" => GroupName, "scope" => GroupScope];
    GroupEnumerate, "group.enumerate", "membership of a group was read", ["group" => GroupName];
    UserEnumerate, "user.enumerate", "local groups of an account were read", ["name" => TargetName];
    DirectoryAccess, "directory.access", "a directory object was accessed", ["type" => ObjectType, "name" => ObjectName, "mask" => AccessMask, "properties" => AccessProperties];
    DirectoryChange, "directory.change", "an attribute of a directory object got or lost a value", ["object" => DirectoryDn, "class" => DirectoryClass, "attribute" => DirectoryAttribute, "syntax" => DirectorySyntax, "value" => DirectoryValue];
    DirectoryCreate, "directory.create", "a directory object was created", ["object" => DirectoryDn, "class" => DirectoryClass];
    DirectoryDelete, "directory.delete", "a directory object was deleted", ["object" => DirectoryDn, "class" => DirectoryClass];
    CredentialRead, "credential.read", "stored credentials were read", ["name" => CredentialTarget, "type" => CredentialType, "count" => CredentialCount, "operation" => CredentialOperation, "status" => CredentialStatus];
    AuditChange, "audit.change", "the audit policy changed", ["subcategory" => PolicyGuid, "changes" => PolicyChanges];
    LogClear, "log.clear", "an event log was cleared", ["channel" => LogChannel];
    ScriptBlock, "script.block", "a script block was compiled", ["text" => ScriptText, "path" => ScriptPath];
    ScriptCommand, "script.command", "a command of a script ran", ["payload" => ScriptPayload, "command" => ScriptCommandName, "sequence" => ScriptSequence];
    SystemBoot, "system.boot", "the host started", [];
    SystemShutdown, "system.shutdown", "the host goes down", ["reason" => ShutdownReason, "type" => ShutdownType];
    ClockChange, "clock.change", "the host's clock was set", [];
    SensorStart, "sensor.start", "the sensor's service started", [];
    SensorStop, "sensor.stop", "the sensor's service stopped", [];
    SensorConfig, "sensor.config", "the sensor's configuration changed", ["path" => FilePath];
    FirewallAdd, "firewall.add", "a firewall rule was added", ["name" => ObjectName, "rule" => FirewallRule, "direction" => FirewallDirection, "action" => FirewallAction, "protocol" => FirewallProtocol, "ports" => FirewallPorts, "program" => FirewallProgram];
    FirewallChange, "firewall.change", "a filter or firewall rule changed", ["name" => ObjectName, "rule" => FirewallRule, "direction" => FirewallDirection, "action" => FirewallAction, "protocol" => FirewallProtocol, "ports" => FirewallPorts, "program" => FirewallProgram];
    FirewallDelete, "firewall.delete", "a firewall rule was deleted", ["name" => ObjectName, "rule" => FirewallRule];
    ClipboardChange, "clipboard.change", "the contents of the clipboard changed", [];
    DeviceConnect, "device.connect", "an external device was recognised", ["id" => DeviceId, "name" => DeviceName, "class" => DeviceClass, "class_id" => DeviceClassId];
    LsaRegister, "lsa.register", "a trusted logon process registered with the security authority", ["name" => LsaName];
    KeyOpen, "key.open", "a persisted cryptographic key was opened", ["name" => KeyName, "path" => KeyPath, "algorithm" => KeyAlgorithm];
    WmiProvider, "wmi.provider", "a WMI provider was started", ["name" => WmiName, "path" => DllPath];
    WmiFail, "wmi.fail", "a WMI operation failed", ["operation" => WmiQuery, "status" => WmiStatus];
    ProviderEvent, "provider.event", "a program wrote an event of its own to a log; a source's file tells by its name what that looks like", ["name" => EventName, "value1" => EventValue1, "value2" => EventValue2, "value3" => EventValue3, "value4" => EventValue4, "pid" => EventPid];
    AlertDetect, "alert.detect", "an antivirus reported something", ["path" => FilePath, "name" => ObjectName];
}

fields! {
    ProcPid, "process.pid", Uint, "process id";
    ProcEntityId, "process.entity_id", Entity, "machine part, start second and process key: what Sysmon's ProcessGuid is built from";
    ProcStartKey, "process.start_key", Uint, "boot id << 48 | process sequence number (ClientProcessStartKey)";
    ProcStart, "process.start", Time, "when the process started, by the host's clock";
    ProcExecutable, "process.executable", Text, "full path of the image as Windows reports it";
    ProcName, "process.name", Text, "file name of the image";
    ProcCommandLine, "process.command_line", Text, "command line";
    ProcWorkingDirectory, "process.working_directory", Text, "current directory, with its final backslash";
    ProcSid, "process.user.id", Text, "SID of the token's user";
    ProcUser, "process.user.name", Text, "account name of the token's user (SYSTEM, LOCAL SERVICE, jdoe)";
    ProcDomain, "process.user.domain", Text, "domain of the token's user as the token has it (NT AUTHORITY, CORP)";
    ProcSubjectUser, "process.subject.name", Text, "account name as Security auditing prints it (HOST$ for SYSTEM)";
    ProcSubjectDomain, "process.subject.domain", Text, "domain as Security auditing prints it (CORP for SYSTEM on a member)";
    ProcLogonId, "process.logon.id", Uint, "LUID of the logon session";
    ProcLogonEntityId, "process.logon.entity_id", Entity, "machine part, logon second and LUID: what Sysmon's LogonGuid is built from";
    ProcSessionId, "process.session.id", Uint, "terminal session id";
    ProcIntegrity, "process.integrity_level", Text, "Untrusted, AppContainer, Low, Medium, High or System";
    ProcLabel, "process.mandatory_label", Text, "SID of the integrity level (S-1-16-8192)";
    ProcElevation, "process.elevation_type", Uint, "1 default, 2 full, 3 limited";
    ProcFileVersion, "process.pe.file_version", Text, "FileVersion resource";
    ProcDescription, "process.pe.description", Text, "FileDescription resource";
    ProcProduct, "process.pe.product", Text, "ProductName resource";
    ProcCompany, "process.pe.company", Text, "CompanyName resource";
    ProcOriginalName, "process.pe.original_file_name", Text, "OriginalFilename resource";
    ProcMd5, "process.hash.md5", Text, "MD5 of the image, upper-case hex";
    ProcSha1, "process.hash.sha1", Text, "SHA-1 of the image, upper-case hex";
    ProcSha256, "process.hash.sha256", Text, "SHA-256 of the image, upper-case hex";
    ProcImphash, "process.pe.imphash", Text, "import hash, upper-case hex";
    ProcFileSize, "process.size", Uint, "size of the image file in bytes";
    ProcDevice, "process.device_path", Text, "image as the kernel names it: \\device\\harddiskvolume3\\..., lower case, or System";
    ProcSigner, "process.code_signature.subject_name", Text, "signer of the image, or -";
    ParentProcPid, "process.parent.pid", Uint, "process id";
    ParentProcEntityId, "process.parent.entity_id", Entity, "machine part, start second and process key: what Sysmon's ProcessGuid is built from";
    ParentProcStartKey, "process.parent.start_key", Uint, "boot id << 48 | process sequence number (ClientProcessStartKey)";
    ParentProcStart, "process.parent.start", Time, "when the process started, by the host's clock";
    ParentProcExecutable, "process.parent.executable", Text, "full path of the image as Windows reports it";
    ParentProcName, "process.parent.name", Text, "file name of the image";
    ParentProcCommandLine, "process.parent.command_line", Text, "command line";
    ParentProcWorkingDirectory, "process.parent.working_directory", Text, "current directory, with its final backslash";
    ParentProcSid, "process.parent.user.id", Text, "SID of the token's user";
    ParentProcUser, "process.parent.user.name", Text, "account name of the token's user (SYSTEM, LOCAL SERVICE, jdoe)";
    ParentProcDomain, "process.parent.user.domain", Text, "domain of the token's user as the token has it (NT AUTHORITY, CORP)";
    ParentProcSubjectUser, "process.parent.subject.name", Text, "account name as Security auditing prints it (HOST$ for SYSTEM)";
    ParentProcSubjectDomain, "process.parent.subject.domain", Text, "domain as Security auditing prints it (CORP for SYSTEM on a member)";
    ParentProcLogonId, "process.parent.logon.id", Uint, "LUID of the logon session";
    ParentProcLogonEntityId, "process.parent.logon.entity_id", Entity, "machine part, logon second and LUID: what Sysmon's LogonGuid is built from";
    ParentProcSessionId, "process.parent.session.id", Uint, "terminal session id";
    ParentProcIntegrity, "process.parent.integrity_level", Text, "Untrusted, AppContainer, Low, Medium, High or System";
    ParentProcLabel, "process.parent.mandatory_label", Text, "SID of the integrity level (S-1-16-8192)";
    ParentProcElevation, "process.parent.elevation_type", Uint, "1 default, 2 full, 3 limited";
    ParentProcFileVersion, "process.parent.pe.file_version", Text, "FileVersion resource";
    ParentProcDescription, "process.parent.pe.description", Text, "FileDescription resource";
    ParentProcProduct, "process.parent.pe.product", Text, "ProductName resource";
    ParentProcCompany, "process.parent.pe.company", Text, "CompanyName resource";
    ParentProcOriginalName, "process.parent.pe.original_file_name", Text, "OriginalFilename resource";
    ParentProcMd5, "process.parent.hash.md5", Text, "MD5 of the image, upper-case hex";
    ParentProcSha1, "process.parent.hash.sha1", Text, "SHA-1 of the image, upper-case hex";
    ParentProcSha256, "process.parent.hash.sha256", Text, "SHA-256 of the image, upper-case hex";
    ParentProcImphash, "process.parent.pe.imphash", Text, "import hash, upper-case hex";
    ParentProcFileSize, "process.parent.size", Uint, "size of the image file in bytes";
    ParentProcDevice, "process.parent.device_path", Text, "image as the kernel names it: \\device\\harddiskvolume3\\..., lower case, or System";
    ParentProcSigner, "process.parent.code_signature.subject_name", Text, "signer of the image, or -";
    TargetProcPid, "process.target.pid", Uint, "process id";
    TargetProcEntityId, "process.target.entity_id", Entity, "machine part, start second and process key: what Sysmon's ProcessGuid is built from";
    TargetProcStartKey, "process.target.start_key", Uint, "boot id << 48 | process sequence number (ClientProcessStartKey)";
    TargetProcStart, "process.target.start", Time, "when the process started, by the host's clock";
    TargetProcExecutable, "process.target.executable", Text, "full path of the image as Windows reports it";
    TargetProcName, "process.target.name", Text, "file name of the image";
    TargetProcCommandLine, "process.target.command_line", Text, "command line";
    TargetProcWorkingDirectory, "process.target.working_directory", Text, "current directory, with its final backslash";
    TargetProcSid, "process.target.user.id", Text, "SID of the token's user";
    TargetProcUser, "process.target.user.name", Text, "account name of the token's user (SYSTEM, LOCAL SERVICE, jdoe)";
    TargetProcDomain, "process.target.user.domain", Text, "domain of the token's user as the token has it (NT AUTHORITY, CORP)";
    TargetProcSubjectUser, "process.target.subject.name", Text, "account name as Security auditing prints it (HOST$ for SYSTEM)";
    TargetProcSubjectDomain, "process.target.subject.domain", Text, "domain as Security auditing prints it (CORP for SYSTEM on a member)";
    TargetProcLogonId, "process.target.logon.id", Uint, "LUID of the logon session";
    TargetProcLogonEntityId, "process.target.logon.entity_id", Entity, "machine part, logon second and LUID: what Sysmon's LogonGuid is built from";
    TargetProcSessionId, "process.target.session.id", Uint, "terminal session id";
    TargetProcIntegrity, "process.target.integrity_level", Text, "Untrusted, AppContainer, Low, Medium, High or System";
    TargetProcLabel, "process.target.mandatory_label", Text, "SID of the integrity level (S-1-16-8192)";
    TargetProcElevation, "process.target.elevation_type", Uint, "1 default, 2 full, 3 limited";
    TargetProcFileVersion, "process.target.pe.file_version", Text, "FileVersion resource";
    TargetProcDescription, "process.target.pe.description", Text, "FileDescription resource";
    TargetProcProduct, "process.target.pe.product", Text, "ProductName resource";
    TargetProcCompany, "process.target.pe.company", Text, "CompanyName resource";
    TargetProcOriginalName, "process.target.pe.original_file_name", Text, "OriginalFilename resource";
    TargetProcMd5, "process.target.hash.md5", Text, "MD5 of the image, upper-case hex";
    TargetProcSha1, "process.target.hash.sha1", Text, "SHA-1 of the image, upper-case hex";
    TargetProcSha256, "process.target.hash.sha256", Text, "SHA-256 of the image, upper-case hex";
    TargetProcImphash, "process.target.pe.imphash", Text, "import hash, upper-case hex";
    TargetProcFileSize, "process.target.size", Uint, "size of the image file in bytes";
    TargetProcDevice, "process.target.device_path", Text, "image as the kernel names it: \\device\\harddiskvolume3\\..., lower case, or System";
    TargetProcSigner, "process.target.code_signature.subject_name", Text, "signer of the image, or -";
    ProcExitCode, "process.exit_code", Uint, "exit status of the process";
    GrandProcPid, "process.grandparent.pid", Uint, "process id of the parent's parent";
    GrandProcName, "process.grandparent.name", Text, "file name of its image";
    GrandProcStart, "process.grandparent.start", Time, "when it started, by the host's clock";
    Outcome, "event.outcome", Text, "failure when it was refused; none otherwise";
    TimeEvent, "time.event", Time, "when it happened, by the host's clock";
    TimeWrite, "time.write", Time, "when the sensor wrote the record, by the host's clock";
    TimeRelease, "time.release", Time, "when collection delivers the record";
    RecordId, "record.id", Uint, "number of the record in its channel on its host (EventRecordID)";
    HostName, "host.name", Text, "fully qualified name as the event log prints it (WS-0412.corp.example)";
    HostHostname, "host.hostname", Text, "computer name (WS-0412)";
    HostDomain, "host.domain", Text, "DNS name of the domain";
    HostNetbios, "host.netbios_domain", Text, "NetBIOS name of the domain";
    HostRealm, "host.realm", Text, "Kerberos realm (upper-case DNS name)";
    HostAccount, "host.account", Text, "machine account (WS-0412$)";
    HostSid, "host.machine_sid", Text, "SID of the machine's local account domain";
    HostIp, "host.ip", Ip, "address of the first adapter";
    HostMac, "host.mac", Text, "address of the first adapter";
    HostId, "host.id", Text, "machine GUID, lower case, no braces";
    HostDeviceId, "host.device_id", Text, "Defender's DeviceId (40 hex digits)";
    HostOs, "host.os.name", Text, "product name (Windows 11 Enterprise)";
    HostOsVersion, "host.os.version", Text, "version (10.0)";
    HostOsBuild, "host.os.kernel", Text, "build and revision (10.0.22631.4317)";
    HostBuild, "host.os.build", Uint, "build number";
    HostRevision, "host.os.revision", Uint, "revision: what follows the build number";
    HostSite, "host.site", Text, "site's name";
    HostTenant, "host.tenant_id", Text, "Entra tenant id";
    AgentId, "agent.id", Guid, "id of the collecting agent on this host (Winlogbeat)";
    AgentEphemeralId, "agent.ephemeral_id", Guid, "id of this start of the collecting agent";
    HostSchedulePid, "host.schedule.pid", Uint, "pid of the service host of Schedule";
    TimeTick, "time.tick", Time, "time.event by the clock that the kernel advances with its timer: steps of 15.625 ms, finer while a program asks for it";
    HostLsassPid, "host.lsass.pid", Uint, "pid of lsass.exe";
    HostServicesPid, "host.services.pid", Uint, "pid of services.exe";
    HostLsmPid, "host.lsm.pid", Uint, "pid of the service host of LSM";
    HostEventLogPid, "host.eventlog.pid", Uint, "pid of the service host of EventLog";
    SensorPid, "sensor.pid", Uint, "pid of the sensor's service on this host";
    SensorThread, "sensor.thread.id", Uint, "a thread of the sensor's service";
    KernelThread, "kernel.thread.id", Uint, "a system thread that writes kernel audits";
    LsassThread, "lsass.thread.id", Uint, "a thread of lsass.exe";
    ThreadId, "thread.id", Uint, "thread that acts";
    TargetThreadId, "thread.target.id", Uint, "thread that is created or touched";
    UserSid, "user.id", Text, "SID of the subject";
    UserName, "user.name", Text, "account name of the subject";
    UserDomain, "user.domain", Text, "domain of the subject";
    UserLogonId, "user.logon.id", Uint, "LUID of the subject's session";
    UserUpn, "user.email", Text, "UPN of the subject";
    TargetSid, "user.target.id", Text, "SID of the account acted on or logged on";
    TargetName, "user.target.name", Text, "its name";
    TargetDomain, "user.target.domain", Text, "its domain";
    TargetUpn, "user.target.email", Text, "its UPN";
    TargetDisplay, "user.target.full_name", Text, "its display name";
    LogonType, "logon.type", Uint, "2 interactive, 3 network, 4 batch, 5 service, 7 unlock, 9 new credentials, 10 remote interactive, 11 cached";
    LogonId, "logon.id", Uint, "LUID of the session";
    LogonEntity, "logon.entity_id", Entity, "machine part, logon second, LUID";
    LogonGuid, "logon.guid", Guid, "Kerberos logon GUID, shared with the domain controller";
    LogonLinked, "logon.linked_id", Uint, "LUID of the linked (elevated or limited) session, 0 if none";
    LogonProcess, "logon.process", Text, "logon process as printed, trailing blanks included (\"Advapi  \")";
    LogonPackage, "logon.package", Text, "authentication package (Kerberos, NTLM, Negotiate)";
    LogonLmPackage, "logon.lm_package", Text, "NTLM V2, or -";
    LogonKeyLength, "logon.key_length", Uint, "session key length, 0 for none";
    LogonElevated, "logon.elevated", Bool, "elevated token";
    LogonVirtual, "logon.virtual", Bool, "virtual account";
    LogonRestrictedAdmin, "logon.restricted_admin", Text, "Yes, No or -";
    LogonImpersonation, "logon.impersonation", Uint, "0 anonymous, 1 identify, 2 impersonate, 3 delegate";
    LogonPrivileges, "logon.privileges", Text, "privilege names, one a line";
    LogonGroups, "logon.groups", Text, "SIDs of the groups, one a line";
    LogonStatus, "logon.status", Uint, "NTSTATUS of a failure";
    LogonSubStatus, "logon.sub_status", Uint, "NTSTATUS detail of a failure";
    LogonReason, "logon.reason", Uint, "message number of the failure reason (2313 is %%2313)";
    LogonWorkstation, "logon.workstation", Text, "name the client gave, or -";
    LogonTargetServer, "logon.target_server", Text, "server that explicit credentials were used for";
    LogonOutboundName, "logon.outbound.name", Text, "account that a new-credentials logon (type 9) uses towards other hosts";
    LogonOutboundDomain, "logon.outbound.domain", Text, "its domain";
    LogonTargetInfo, "logon.target_info", Text, "its service principal or the same name";
    LogonTerminal, "logon.terminal", Uint, "terminal session of a logon: 0 for services, 1 for the screen";
    SessionName, "session.name", Text, "Console, RDP-Tcp#3";
    SourceIp, "source.ip", Ip, "client's address";
    SourcePort, "source.port", Uint, "client's port";
    SourceDomain, "source.domain", Text, "client's name, or -";
    DestinationIp, "destination.ip", Ip, "server's address";
    DestinationPort, "destination.port", Uint, "server's port";
    DestinationDomain, "destination.domain", Text, "server's name, or -";
    NetworkTransport, "network.transport", Text, "tcp or udp";
    NetworkIana, "network.iana_number", Uint, "6 or 17";
    NetworkInitiated, "network.initiated", Bool, "this host opened the connection";
    NetworkPortName, "network.port_name", Text, "service name of the destination port, or -";
    NetworkSourcePortName, "network.source_port_name", Text, "service name of the source port, or -";
    NetworkFilter, "network.filter.id", Uint, "run-time id of the filter that permitted it";
    NetworkBytesSent, "source.bytes", Uint, "bytes sent by the client";
    NetworkBytesReceived, "destination.bytes", Uint, "bytes sent by the server";
    Url, "url.full", Text, "full URL";
    DnsName, "dns.question.name", Text, "queried name";
    DnsStatus, "dns.status", Uint, "Windows status of the query: 0, 9003 name error, 9501 no records, 1460 timeout";
    DnsAnswers, "dns.answers", Text, "answers as DNS client events print them";
    FilePath, "file.path", Text, "full path";
    FileOldPath, "file.origin_path", Text, "path before a rename or move";
    FileSize, "file.size", Uint, "size in bytes";
    FileCreated, "file.created", Time, "creation time";
    FilePreviousCreated, "file.previous_created", Time, "creation time before it was changed";
    FileMd5, "file.hash.md5", Text, "upper-case hex";
    FileSha1, "file.hash.sha1", Text, "upper-case hex";
    FileSha256, "file.hash.sha256", Text, "upper-case hex";
    FileImphash, "file.pe.imphash", Text, "upper-case hex";
    FileContents, "file.contents", Text, "text of a small stream";
    FileArchived, "file.archived", Bool, "the sensor kept a copy";
    FileExecutable, "file.is_executable", Bool, "a portable executable";
    FileOriginUrl, "file.origin_url", Text, "where a download came from";
    FileOriginReferrer, "file.origin_referrer_url", Text, "its referrer";
    RegistryPath, "registry.path", Text, "key or key and value, hive in short form (HKLM\\..., HKU\\S-1-5-...)";
    RegistryKey, "registry.key", Text, "the key alone";
    RegistryValue, "registry.value", Text, "the value's name";
    RegistryType, "registry.data.type", Text, "REG_SZ, REG_DWORD, REG_BINARY ...";
    RegistryData, "registry.data.strings", Text, "data as text";
    RegistryOldData, "registry.old_data.strings", Text, "data before";
    RegistryNewName, "registry.new_name", Text, "name after a rename";
    DllPath, "dll.path", Text, "full path of the loaded module";
    DllName, "dll.name", Text, "file name";
    DllFileVersion, "dll.pe.file_version", Text, "FileVersion resource";
    DllDescription, "dll.pe.description", Text, "FileDescription resource";
    DllProduct, "dll.pe.product", Text, "ProductName resource";
    DllCompany, "dll.pe.company", Text, "CompanyName resource";
    DllOriginalName, "dll.pe.original_file_name", Text, "OriginalFilename resource";
    DllMd5, "dll.hash.md5", Text, "upper-case hex";
    DllSha1, "dll.hash.sha1", Text, "upper-case hex";
    DllSha256, "dll.hash.sha256", Text, "upper-case hex";
    DllImphash, "dll.pe.imphash", Text, "upper-case hex";
    DllSigned, "dll.code_signature.exists", Bool, "carries a signature";
    DllSigner, "dll.code_signature.subject_name", Text, "signer, or -";
    DllSignatureStatus, "dll.code_signature.status", Text, "Valid, Unavailable, Expired";
    DllSize, "dll.size", Uint, "size of the module file in bytes";
    AccessGranted, "access.granted", Uint, "access mask that was granted";
    AccessCallTrace, "access.call_trace", Text, "modules and offsets, |-separated";
    AccessMask, "access.mask", Uint, "access mask of an object audit";
    AccessList, "access.list", Text, "%% codes, each followed by CR LF and four tabs";
    AccessReason, "access.reason", Text, "access reasons, or -";
    AccessProperties, "access.properties", Text, "%% codes and GUIDs of the properties of a directory access";
    AccessPrivileges, "access.privileges", Text, "privileges used, or -";
    InjectAddress, "inject.start_address", Uint, "start address of a remote thread";
    InjectModule, "inject.start_module", Text, "module of that address, or -";
    InjectFunction, "inject.start_function", Text, "symbol of that address, or -";
    ObjectServer, "object.server", Text, "Security, SC Manager, ...";
    ObjectType, "object.type", Text, "File, Key, Process, Token ...";
    ObjectName, "object.name", Text, "name as the object manager has it";
    ObjectRelative, "object.relative_name", Text, "path relative to the share";
    HandleId, "handle.id", Uint, "handle value";
    HandleTargetId, "handle.target_id", Uint, "handle value of the copy";
    TransactionId, "transaction.id", Guid, "zero GUID outside transactions";
    ObjectOldSd, "object.old_sd", Text, "security descriptor before, as SDDL";
    ObjectNewSd, "object.new_sd", Text, "security descriptor after, as SDDL";
    PrivilegeList, "privilege.list", Text, "privileges of a use or an adjustment";
    PrivilegeService, "privilege.service", Text, "service that used it";
    ServiceName, "service.name", Text, "short name";
    ServiceDisplay, "service.display_name", Text, "display name";
    ServicePath, "service.path", Text, "image path or command";
    ServiceType, "service.type", Uint, "16 own process, 32 shared, 1 kernel driver";
    ServiceStart, "service.start", Uint, "0 boot, 1 system, 2 automatic, 3 on demand, 4 disabled";
    ServiceOldStart, "service.old_start", Uint, "start type before";
    ServiceAccount, "service.account", Text, "LocalSystem, NT AUTHORITY\\LocalService ...";
    ClientStartKey, "client.process.start_key", Uint, "start key of the process that asked a service to act";
    ClientExecutable, "client.process.executable", Text, "its image";
    ClientPid, "client.process.pid", Uint, "its pid";
    ClientParentPid, "client.process.parent.pid", Uint, "pid of its parent";
    ServiceState, "service.state", Text, "running, stopped";
    TaskName, "task.name", Text, "path with its leading backslash";
    TaskContent, "task.content", Text, "task XML";
    TaskCommand, "task.command", Text, "program a task starts";
    TaskArguments, "task.arguments", Text, "its arguments";
    TaskTrigger, "task.trigger", Text, "when it runs, as schtasks names it: once, daily, onlogon ...";
    TaskPrincipal, "task.principal", Text, "account it runs as, where that is not who registered it";
    TaskInstance, "task.instance", Guid, "id of one run";
    TaskUser, "task.user", Text, "account that registered it";
    TaskResult, "task.result", Uint, "result code of a run";
    KerberosService, "kerberos.service", Text, "service name in a ticket request";
    KerberosServiceSid, "kerberos.service_sid", Text, "its SID";
    KerberosOptions, "kerberos.ticket_options", Uint, "ticket options";
    KerberosStatus, "kerberos.status", Uint, "Kerberos status, 0 for success";
    KerberosEncryption, "kerberos.encryption_type", Uint, "0x12 AES256, 0x17 RC4, 0xffffffff on failure";
    KerberosPreauth, "kerberos.preauth_type", Uint, "2 encrypted timestamp, 0 none";
    KerberosSid, "kerberos.client_sid", Text, "SID of the client";
    KerberosRequestHash, "kerberos.request_hash", Text, "hash of the ticket that was presented";
    KerberosResponseHash, "kerberos.response_hash", Text, "hash of the ticket that was issued";
    ShareName, "share.name", Text, "\\*\\IPC$ and the like";
    SharePath, "share.path", Text, "local path of the share";
    LogChannel, "log.channel", Text, "channel that was cleared";
    PolicyCategory, "policy.category", Uint, "message number of the audit category (8274)";
    PolicySubcategory, "policy.subcategory", Uint, "message number of the subcategory";
    PolicyGuid, "policy.subcategory_guid", Guid, "GUID of the subcategory";
    PolicyChanges, "policy.changes", Text, "%% codes of the change";
    GroupSid, "group.id", Text, "SID of the group";
    GroupName, "group.name", Text, "its name";
    GroupDomain, "group.domain", Text, "its domain";
    GroupScope, "group.scope", Text, "local, global or universal";
    MemberSid, "member.id", Text, "SID of the member added or removed";
    MemberDn, "member.distinguished_name", Text, "its distinguished name, or -";
    AccountSam, "account.sam_name", Text, "SAM account name";
    AccountNewName, "account.new_name", Text, "name after a change of name";
    AccountUac, "account.uac", Uint, "new userAccountControl (SAM flags)";
    AccountOldUac, "account.old_uac", Uint, "old value";
    AccountUacChanges, "account.uac_changes", Text, "%% codes of the changed account flags, each preceded by CR LF and two tabs";
    AccountPasswordSet, "account.password_last_set", Time, "when the password was last set";
    AccountPrimaryGroup, "account.primary_group", Uint, "RID of the primary group";
    DirectoryDn, "directory.object.dn", Text, "distinguished name";
    DirectoryGuid, "directory.object.guid", Guid, "objectGUID";
    DirectoryClass, "directory.object.class", Text, "class (user, groupPolicyContainer)";
    DirectoryAttribute, "directory.attribute", Text, "LDAP display name of the attribute";
    DirectorySyntax, "directory.syntax_oid", Text, "OID of the attribute's syntax";
    DirectoryValue, "directory.value", Text, "value that was added or deleted";
    DirectoryDeleted, "directory.deleted", Bool, "the value was deleted, not added";
    DirectoryCorrelation, "directory.correlation_id", Guid, "shared by the changes of one operation";
    CredentialTarget, "credential.target", Text, "name or filter of the credentials read";
    CredentialType, "credential.type", Uint, "0 any (default), 1 generic, 2 domain password";
    CredentialCount, "credential.count", Uint, "credentials returned";
    CredentialOperation, "credential.operation", Uint, "message number of the operation (8099 read, 8100 enumerate; default 8100)";
    CredentialStatus, "credential.status", Uint, "NTSTATUS, 0 for success";
    ClockOld, "clock.old", Time, "time before the change";
    ClockNew, "clock.new", Time, "time after the change";
    ScriptText, "script.text", Text, "script block";
    ScriptId, "script.id", Guid, "ScriptBlockId";
    ScriptPath, "script.path", Text, "file it came from, or empty";
    ScriptNumber, "script.number", Uint, "part number";
    ScriptTotal, "script.total", Uint, "number of parts";
    ScriptLevel, "script.level", Uint, "3 warning, 5 verbose";
    ScriptPayload, "script.payload", Text, "command invocation details";
    ScriptCommandName, "script.command.name", Text, "first command of a pipeline";
    ScriptSequence, "script.sequence", Uint, "number of the record in its runspace";
    ScriptHostId, "script.host_id", Guid, "id of the PowerShell host, the same for all of a process";
    ScriptRunspaceId, "script.runspace_id", Guid, "id of the runspace, the same for all of a process";
    PipeName, "pipe.name", Text, "with its leading backslash";
    WmiOperation, "wmi.operation", Text, "Created, Modified, Deleted";
    WmiNamespace, "wmi.namespace", Text, "quoted namespace";
    WmiName, "wmi.name", Text, "filter's or consumer's name";
    WmiQuery, "wmi.query", Text, "filter query";
    WmiType, "wmi.type", Text, "consumer type";
    WmiDestination, "wmi.destination", Text, "consumer's command or script";
    WmiConsumer, "wmi.consumer", Text, "consumer reference";
    WmiFilter, "wmi.filter", Text, "filter reference";
    WmiStatus, "wmi.status", Uint, "HRESULT of a failed operation";
    DriverPath, "driver.path", Text, "full path of a driver";
    FirewallRule, "firewall.rule.id", Text, "id of a firewall rule";
    FirewallDirection, "firewall.direction", Text, "in or out";
    FirewallAction, "firewall.action", Text, "allow or block";
    FirewallProtocol, "firewall.protocol", Text, "tcp, udp or any";
    FirewallPorts, "firewall.ports", Text, "local ports, or *";
    FirewallProgram, "firewall.program", Text, "program a rule is for";
    DeviceId, "device.id", Text, "device instance id (USBSTOR\\Disk&Ven_...)";
    DeviceName, "device.name", Text, "description of a device";
    DeviceClass, "device.class.name", Text, "setup class (DiskDrive)";
    DeviceClassId, "device.class.id", Guid, "GUID of the setup class";
    EventName, "event.name", Text, "which event of its own a program wrote: its name in effects, background and sources (group_policy.applied)";
    EventValue1, "event.value1", Text, "first value of it";
    EventValue2, "event.value2", Text, "second value of it";
    EventValue3, "event.value3", Text, "third value of it";
    EventValue4, "event.value4", Text, "fourth value of it";
    EventPid, "event.pid", Uint, "process that wrote it, where that is not the one it tells of";
    LsaName, "lsa.name", Text, "logon process";
    KeyName, "key.name", Text, "name of a persisted key";
    KeyPath, "key.path", Text, "file that holds it";
    KeyAlgorithm, "key.algorithm", Text, "RSA, ECDSA_P256 ...";
    ShutdownReason, "shutdown.reason", Text, "reason of a restart";
    ShutdownType, "shutdown.type", Text, "restart, power off";
    TruthAttack, "truth.attack", Bool, "for labels written inline only";
    TruthScenario, "truth.scenario", Text, "for labels written inline only";
    TruthTechnique, "truth.technique", Text, "for labels written inline only";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_parse_back() {
        for f in Field::ALL {
            assert_eq!(Field::parse(f.name()), Some(*f));
            assert!(!f.doc().is_empty());
        }
        for k in Kind::ALL {
            assert_eq!(Kind::parse(k.name()), Some(*k));
            let mut seen = std::collections::BTreeSet::new();
            for (arg, _) in k.args() {
                assert!(seen.insert(*arg), "{k} has two arguments {arg}");
            }
        }
    }

    #[test]
    fn documentation_lists_every_field_and_kind() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/activities.md");
        let want = document();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &want).unwrap();
        }
        let have = std::fs::read_to_string(path).unwrap_or_default();
        assert!(have == want, "docs/activities.md is stale: UPDATE_DOCS=1 cargo test documentation_lists");
    }

    fn document() -> String {
        use std::fmt::Write;
        let mut s = String::from(
            "# Activities and their fields\n\nGenerated from `src/activity.rs` by its test. Names are ECS 9 where ECS has one.\n\n## Kinds\n| kind | what | arguments |\n|---|---|---|\n",
        );
        for k in Kind::ALL {
            let args: Vec<String> = k.args().iter().map(|(a, f)| format!("`{a}` ({f})")).collect();
            writeln!(s, "| `{k}` | {} | {} |", k.doc(), args.join(", ")).unwrap();
        }
        s.push_str("\n## Fields\n| field | type | what |\n|---|---|---|\n");
        for f in Field::ALL {
            writeln!(s, "| `{f}` | {:?} | {} |", f.ty(), f.doc()).unwrap();
        }
        s
    }
}
